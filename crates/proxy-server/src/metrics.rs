//! `/metrics`: what is under way and what was done, as Prometheus reads it (text format 0.0.4). Numbers
//! only: nothing here names a study, a client or an archive's address.

use std::fmt::Write;

use render_pool::Spent;

use crate::app::App;

/// The content type of it.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All of them.
pub(crate) fn text(app: &App) -> String {
    let pool = app.workers.snapshot();
    let (under_way, refused) = app.workers.requests();
    let refused = refused + app.holds.refused();
    let mut page = Page::default();
    page.gauge("requests_in_progress", "Requests for pictures under way.", under_way as u64);
    page.counter(
        "requests_rejected_total",
        "Requests answered 503 for want of a place or a turn.",
        refused,
    );
    page.gauge("queue_depth", "Pictures that wait for a worker.", pool.waiting);
    page.gauge("workers", "Workers, the one for small pictures among them.", pool.workers);
    page.gauge("workers_busy", "Workers that draw.", pool.busy);
    page.counter("worker_restarts_total", "Workers begun again.", pool.restarts);
    page.gauge(
        "memory_admitted_bytes",
        "Memory that drawing is taken to need.",
        pool.bytes_admitted,
    );
    page.gauge("memory_limit_bytes", "Memory that drawing may take.", pool.bytes_limit);
    page.family("pictures_total", "counter", "What came of pictures that were to be drawn.");
    let outcomes = [
        ("drawn", pool.done),
        ("failed", pool.failed),
        ("late", pool.late),
        ("too_large", pool.too_large),
        ("worker_lost", pool.lost),
    ];
    for (outcome, count) in outcomes {
        page.line(&format!("pictures_total{{outcome=\"{outcome}\"}}"), count);
    }
    page.summary(
        "queue_wait_seconds",
        "How long pictures waited for a worker.",
        &[("", pool.waited)],
    );
    page.summary(
        "stage_seconds",
        "How long drawing took, by stage.",
        &[
            ("{stage=\"decode\"}", pool.decode),
            ("{stage=\"render\"}", pool.render),
            ("{stage=\"encode\"}", pool.encode),
        ],
    );
    page.0
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, "gauge", help);
        self.line(name, value);
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, "counter", help);
        self.line(name, value);
    }

    fn summary(&mut self, name: &str, help: &str, of: &[(&str, Spent)]) {
        self.family(name, "summary", help);
        for (labels, spent) in of {
            self.line(&format!("{name}_sum{labels}"), spent.time.as_secs_f64());
            self.line(&format!("{name}_count{labels}"), spent.count);
        }
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing into a String never fails.
        let _ = write!(self.0, "# HELP lightbox_{name} {help}\n# TYPE lightbox_{name} {kind}\n");
    }

    fn line(&mut self, name: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.0, "lightbox_{name} {value}");
    }
}
