//! How a worker breaks, told by the pixels that it is to draw: what `faulty-worker` and the tests agree on.

use std::time::Duration;

/// What happens to a worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It ends itself, as where memory was corrupted.
    Abort,
    /// It never comes to an end.
    Loop,
    /// It takes memory without end.
    Allocate,
    /// It says what is no answer.
    Babble,
    /// None: it takes two seconds.
    Nap,
}

impl Fault {
    /// All that a request must not survive.
    pub const DEADLY: [Self; 4] = [Self::Abort, Self::Loop, Self::Allocate, Self::Babble];

    /// Eight pixels of an image that is drawn so.
    pub fn mark(self) -> &'static [u8; 8] {
        match self {
            Self::Abort => b"!abort!!",
            Self::Loop => b"!loop!!!",
            Self::Allocate => b"!memory!",
            Self::Babble => b"!babble!",
            Self::Nap => b"!nap!!!!",
        }
    }

    /// The fault that a frame, or a small file, tells of.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let all = Self::DEADLY.into_iter().chain([Self::Nap]);
        all.into_iter().find(|fault| bytes.windows(8).any(|found| found == fault.mark()))
    }

    /// Lets it happen to this process.
    pub fn happen(self) {
        match self {
            Self::Abort => std::process::abort(),
            Self::Loop => loop {
                std::hint::spin_loop();
            },
            Self::Allocate => {
                let mut all = Vec::new();
                loop {
                    all.push(vec![1_u8; 1 << 20]);
                    std::hint::black_box(&all);
                }
            }
            Self::Babble => babble(),
            Self::Nap => std::thread::sleep(Duration::from_secs(2)),
        }
    }
}

/// An answer that is longer than any picture, and then nothing.
fn babble() {
    use std::io::Write;
    use std::os::fd::AsFd;
    let Ok(link) = std::io::stdin().as_fd().try_clone_to_owned() else { return };
    let mut link = std::os::unix::net::UnixStream::from(link);
    // Whether it arrives is the test's to find out.
    let _ = link.write_all(&[0, 255, 255, 255, 255, 255, 255, 255, 255]);
    std::thread::sleep(Duration::from_secs(60));
}
