//! What happens in this process: reading, comparing, digesting, planning. `cargo bench -p benches`.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use benches::corpus::Corpus;
use benches::pairs::{differs, objects, pairs};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gitops_core::manifest::digest::{desired_digest, live_digest};
use gitops_core::manifest::{ManifestSet, yaml};
use gitops_kube::cluster::InMemoryCluster;
use gitops_kube::engine::{ApplySet, Engine, EngineOptions, PlanOptions};

const OBJECTS: usize = 1000;

fn corpus() -> String {
    Corpus {
        objects: OBJECTS,
        ..Corpus::default()
    }
    .yaml()
}

fn yaml_parse(criterion: &mut Criterion) {
    let text = corpus();
    let mut group = criterion.benchmark_group("yaml");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("parse", |bencher| {
        bencher.iter(|| yaml::parse("corpus.yaml", black_box(text.as_bytes())));
    });
    group.finish();
}

fn diff(criterion: &mut Criterion) {
    let pairs = pairs(OBJECTS);
    let Ok(objects) = objects(&pairs) else {
        panic!("the corpus has something that is no object");
    };
    criterion.bench_function("diff", |bencher| {
        bencher.iter(|| {
            objects
                .iter()
                .filter(|(live, target)| differs(live.as_ref(), target.as_ref()))
                .count()
        });
    });
}

fn digest(criterion: &mut Criterion) {
    let Ok(objects) = yaml::parse("corpus.yaml", corpus().as_bytes()) else {
        panic!("the corpus cannot be read");
    };
    criterion.bench_function("digest", |bencher| {
        bencher.iter(|| {
            for object in &objects {
                black_box((desired_digest(object), live_digest(object, "bench")));
            }
        });
    });
}

fn plan(criterion: &mut Criterion) {
    let Ok(runtime) = tokio::runtime::Runtime::new() else {
        panic!("no runtime");
    };
    let manifests = || -> gitops_core::Result<ManifestSet> {
        ManifestSet::from_objects(yaml::parse("corpus.yaml", corpus().as_bytes())?)
    };
    let prepared = || -> gitops_core::Result<_> {
        let engine = Engine::new(Arc::new(InMemoryCluster::new()));
        let set = ApplySet::new("bench", "default")?;
        let options = EngineOptions {
            namespace: "default".into(),
            wait: None,
            ..EngineOptions::default()
        };
        runtime.block_on(engine.sync(&set, manifests()?, &options))?;
        Ok((engine, set, options, manifests()?))
    };
    let (engine, set, options, manifests) = match prepared() {
        Ok(prepared) => prepared,
        Err(error) => panic!("{error:#}"),
    };
    criterion.bench_function("plan a no-op", |bencher| {
        bencher.iter(|| {
            runtime.block_on(engine.plan(&set, manifests.clone(), &options, PlanOptions::default()))
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(3));
    targets = yaml_parse, diff, digest, plan
}
criterion_main!(benches);
