//! How far a command is that takes long: a bar on a terminal, else a line now and then.

use std::io::IsTerminal;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How far it is.
#[derive(Clone, Copy, Default)]
pub(crate) struct Progress {
    pub(crate) done: u64,
    /// All there are, once that is known.
    pub(crate) of: Option<u64>,
    pub(crate) failed: u64,
}

/// Does the work, and shows how far it is. `things` are what is counted.
pub(crate) fn shown<T>(
    things: &'static str,
    progress: impl Fn() -> Progress + Send + 'static,
    work: impl FnOnce() -> T,
) -> T {
    let (end, ended) = mpsc::channel::<()>();
    let display = thread::spawn(move || {
        let mut display = Display::new(things);
        while ended.recv_timeout(display.pause()) == Err(RecvTimeoutError::Timeout) {
            display.show(&progress());
        }
        display.end();
    });
    let outcome = work();
    drop(end);
    // What shows it may fail, which changes nothing of the work.
    let _ = display.join();
    outcome
}

struct Display {
    things: &'static str,
    manner: Manner,
}

enum Manner {
    Bar(ProgressBar),
    Lines(Instant),
}

impl Display {
    fn new(things: &'static str) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self { things, manner: Manner::Lines(Instant::now()) };
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        bar.set_style(style(things, false));
        Self { things, manner: Manner::Bar(bar) }
    }

    fn pause(&self) -> Duration {
        match self.manner {
            Manner::Bar(_) => Duration::from_millis(100),
            Manner::Lines(_) => Duration::from_secs(10),
        }
    }

    fn show(&mut self, progress: &Progress) {
        match &self.manner {
            Manner::Bar(bar) => {
                if let Some(of) = progress.of {
                    if bar.length().is_none() {
                        bar.set_style(style(self.things, true));
                    }
                    bar.set_length(of);
                }
                bar.set_position(progress.done);
                if progress.failed > 0 {
                    bar.set_message(format!("{} failed", progress.failed));
                }
                bar.tick();
            }
            Manner::Lines(begun) => eprintln!("{}", line(self.things, progress, begun.elapsed())),
        }
    }

    fn end(self) {
        if let Manner::Bar(bar) = self.manner {
            bar.finish_and_clear();
        }
    }
}

fn style(things: &str, knows_end: bool) -> ProgressStyle {
    let template = if knows_end {
        "{bar:30} {pos} of {len}  {per_sec}  {eta} left  {msg}".to_owned()
    } else {
        format!("{{spinner}} {{pos}} {things}  {{per_sec}}  {{msg}}")
    };
    ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn line(things: &str, progress: &Progress, elapsed: Duration) -> String {
    let Progress { done, of, failed } = *progress;
    let rate = done as f64 / elapsed.as_secs_f64().max(1e-3);
    let mut line = match of {
        Some(of) => {
            let left = of.saturating_sub(done) as f64 / rate.max(1e-3);
            format!("{done} of {of} {things}, {rate:.0}/s, {left:.0} s left")
        }
        None => format!("{done} {things}, {rate:.0}/s"),
    };
    if failed > 0 {
        line.push_str(&format!(", {failed} failed"));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_it_is_and_how_long_it_takes() {
        let progress = Progress { done: 50, ..Progress::default() };
        assert_eq!(line("files", &progress, Duration::from_secs(5)), "50 files, 10/s");
        let progress = Progress { of: Some(80), failed: 2, ..progress };
        assert_eq!(
            line("files", &progress, Duration::from_secs(5)),
            "50 of 80 files, 10/s, 3 s left, 2 failed"
        );
        assert!(line("files", &Progress::default(), Duration::ZERO).starts_with("0 files"));
    }
}
