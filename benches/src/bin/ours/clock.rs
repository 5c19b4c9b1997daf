//! Time and memory.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// The median of `rounds` runs in milliseconds, after one to warm up.
pub(crate) fn rounds(rounds: usize, mut run: impl FnMut() -> Result<()>) -> Result<f64> {
    ensure!(rounds > 0, "at least one round");
    run()?;
    let mut times = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let start = Instant::now();
        run()?;
        times.push(ms(start.elapsed()));
    }
    Ok(median(times))
}

/// The middle one, or the mean of the two middle ones.
pub(crate) fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    match times.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => times[n / 2],
        n => f64::midpoint(times[n / 2 - 1], times[n / 2]),
    }
}

/// In milliseconds.
pub(crate) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The processor time that this process has used so far, of its own and of the system's, on all threads.
pub(crate) fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

/// The most memory that this process has held so far, in megabytes (Linux: VmHWM).
pub(crate) fn peak_mb() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status").context("/proc/self/status")?;
    let kb: f64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.trim().strip_suffix(" kB"))
        .context("no VmHWM")?
        .trim()
        .parse()?;
    Ok(kb / 1024.0)
}
