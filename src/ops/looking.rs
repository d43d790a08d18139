//! Looks before a run: who is asked, and told while the answer is awaited.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::engine::{Event, Listener, SeenEvent};

/// How long a look goes on in silence (wall time), and how often it is told again.
const SILENCE: Duration = Duration::from_millis(500);

/// Who was asked and has not answered yet, in the order of asking.
#[derive(Default)]
pub(super) struct Looking(Mutex<Vec<&'static str>>);

impl Looking {
    /// Asks `whom`.
    pub async fn at<T>(&self, whom: &'static str, answer: impl Future<Output = T>) -> T {
        self.open().push(whom);
        let answer = answer.await;
        self.open().retain(|other| *other != whom);
        answer
    }

    /// Drives `work` to its end, and tells meanwhile who is being waited for.
    pub async fn told<T>(&self, listener: &mut dyn Listener, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        let mut told = false;
        let done = loop {
            tokio::select! {
                biased;
                done = &mut work => break done,
                () = tokio::time::sleep(SILENCE) => {
                    told = true;
                    tell(listener, self.open().clone());
                }
            }
        };
        if told {
            tell(listener, Vec::new());
        }
        done
    }

    fn open(&self) -> MutexGuard<'_, Vec<&'static str>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tell(listener: &mut dyn Listener, whom: Vec<&'static str>) {
    listener.hear(&Event::Seen(SeenEvent::Looking { whom }), None);
    listener.tick(Duration::ZERO);
}
