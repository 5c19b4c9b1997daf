//! The helpers around backends, in this process. `cargo bench -p benches --bench helpers`.

use std::hint::black_box;

use benches::helpers::{
    SeedCache, Statuses, apps, cache, contended, fill, keys, limiter, permits, sync_all,
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const APPS: usize = 10_000;

fn reads(criterion: &mut Criterion) {
    let apps = apps(APPS);
    let caches: [(&str, Box<dyn Statuses>); 2] = [
        ("ours", Box::new(cache())),
        ("seed", Box::new(SeedCache::default())),
    ];
    for (name, cache) in &caches {
        fill(&**cache, &apps, 20);
        let mut group = criterion.benchmark_group("cache-read");
        group.throughput(Throughput::Elements(1));
        let mut next = 0;
        group.bench_function(format!("{name}/one reader"), |bencher| {
            bencher.iter(|| {
                next = (next + 31) % apps.len();
                black_box(cache.read(&apps[next]))
            });
        });
        group.sample_size(10);
        group.throughput(Throughput::Elements(8 * 10_000));
        group.bench_function(format!("{name}/8 readers, 1 writer"), |bencher| {
            bencher.iter_custom(|rounds| {
                (0..rounds)
                    .map(|_| match contended(&**cache, &apps, 8, 10_000) {
                        Ok(elapsed) => elapsed,
                        Err(error) => panic!("{error}"),
                    })
                    .sum()
            });
        });
        group.finish();
    }
}

fn limits(criterion: &mut Criterion) {
    let Ok(runtime) = tokio::runtime::Builder::new_multi_thread()
        .enable_time()
        .build()
    else {
        panic!("no runtime");
    };
    let (limiter, keys) = (limiter(), keys(1000));
    let mut group = criterion.benchmark_group("limit");
    group.bench_function("a permit of three limits", |bencher| {
        bencher.iter_custom(|rounds| {
            let count = usize::try_from(rounds).unwrap_or(usize::MAX);
            match runtime.block_on(permits(&limiter, &keys, count)) {
                Ok(elapsed) => elapsed,
                Err(error) => panic!("{error}"),
            }
        });
    });
    group.sample_size(10);
    group.bench_function("sync_all of 10,000", |bencher| {
        bencher.iter_custom(|rounds| {
            (0..rounds)
                .map(|_| match runtime.block_on(sync_all(apps(APPS))) {
                    Ok(elapsed) => elapsed,
                    Err(error) => panic!("{error}"),
                })
                .sum()
        });
    });
    group.finish();
}

criterion_group!(benches, reads, limits);
criterion_main!(benches);
