//! A task, done where one stands: in a thread of ours, or in a process of its own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use core_render::{Result, Stage};

use crate::task::{Answer, Outcome, Task, Times, Want};

/// Does a task, telling `observe` of each stage as it begins. A panic is an outcome.
pub(crate) fn perform(task: &Task, observe: &mut dyn FnMut(Stage) -> Result<()>) -> Outcome {
    let mut clock = StageClock::default();
    let mut stage = None;
    let answer = catch_unwind(AssertUnwindSafe(|| match task.want {
        Want::Picture => core_render::render(&task.job, &mut |begun| {
            stage = Some(begun);
            clock.begin(begun);
            observe(begun)
        })
        .map(Answer::Picture),
        Want::Contrast => core_render::contrast(&task.job).map(Answer::Contrast),
    }));
    match answer {
        Ok(Ok(answer)) => Outcome::Done(answer, clock.end()),
        Ok(Err(error)) => Outcome::Refused(error),
        Err(_) => Outcome::Panicked(stage),
    }
}

/// Adds up the time of each stage from the moments they begin at.
#[derive(Default)]
struct StageClock {
    times: Times,
    running: Option<(Stage, Instant)>,
}

impl StageClock {
    fn begin(&mut self, stage: Stage) {
        self.close();
        self.running = Some((stage, Instant::now()));
    }

    fn end(mut self) -> Times {
        self.close();
        self.times
    }

    fn close(&mut self) {
        let Some((stage, since)) = self.running.take() else { return };
        let spent = match stage {
            Stage::Decode => &mut self.times.decode,
            Stage::Render => &mut self.times.render,
            Stage::Encode => &mut self.times.encode,
        };
        *spent += since.elapsed();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn stages_are_timed_from_one_to_the_next() {
        let mut clock = StageClock::default();
        clock.begin(Stage::Decode);
        std::thread::sleep(Duration::from_millis(2));
        clock.begin(Stage::Encode);
        let times = clock.end();
        assert!(times.decode >= Duration::from_millis(2));
        assert_eq!(times.render, Duration::ZERO);
    }
}
