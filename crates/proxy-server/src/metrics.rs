//! `/metrics`: what is under way and what was done, as Prometheus reads it (text format 0.0.4). Numbers
//! only: nothing here names a study, a client or an archive's address.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use render_pool::Spent;

use crate::app::App;
use crate::cache::{DiskCounts, KindCounts};

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
    if let Some(audit) = &app.audit {
        page.counter(
            "audit_lost_total",
            "Lines of the audit that could not be written.",
            audit.lost(),
        );
    }
    connections(app, &mut page);
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
    kept(app, &mut page);
    page.0
}

/// How clients are connected, and what was cut off of them.
fn connections(app: &App, page: &mut Page) {
    let counts = &app.transport.counts;
    let of = |count: &AtomicU64| count.load(Relaxed);
    page.gauge("connections", "Connections of clients.", of(&counts.open));
    let help = "What was cut off because the client neither sent nor took anything.";
    let stalled = [
        ("connection", of(&counts.stalled_writes)),
        ("stream", of(&counts.stalled_streams)),
        ("upload", of(&counts.stalled_uploads)),
    ];
    page.by(("stalled_total", "counter", help), "what", stalled);
    let Some(tls) = &app.transport.tls else { return };
    let help = "TLS handshakes that came to nothing.";
    page.counter("tls_handshakes_failed_total", help, of(&counts.failed_handshakes));
    let help = "New certificates that were taken into effect, or could not be.";
    page.by(("tls_reloads_total", "counter", help), "outcome", tls.reloads());
}

/// What is kept, and what it spares.
fn kept(app: &App, page: &mut Page) {
    let (cache, kinds) = (&app.cache, app.cache.kinds());
    let help = "What was looked for among what is kept, and where it was found.";
    page.family("cache_lookups_total", "counter", help);
    for kind in &kinds {
        for (found, count) in kind.found {
            let name = format!("cache_lookups_total{{kind=\"{}\",found=\"{found}\"}}", kind.kind);
            page.line(&name, count);
        }
    }
    let of = |value: fn(&KindCounts) -> u64| kinds.iter().map(move |kind| (kind.kind, value(kind)));
    let name = ("cache_memory_bytes", "gauge", "Bytes kept in memory.");
    page.by(name, "kind", of(|kind| kind.memory_bytes));
    let name = ("cache_memory_entries", "gauge", "Entries kept in memory.");
    page.by(name, "kind", of(|kind| kind.memory_entries));
    let help = "Entries that left memory for want of room.";
    page.by(("cache_memory_evictions_total", "counter", help), "kind", of(|kind| kind.evicted));
    on_disks(app, page);
    on_nodes(app, page);
    let help = "Requests that waited for equal work of others.";
    page.by(("coalesced_total", "counter", help), "for", app.together.followed());
    let (answers, age) = cache.ages_served();
    let help = "How old answers out of what is kept were.";
    page.family("cache_served_age_seconds", "summary", help);
    page.line("cache_served_age_seconds_sum", age);
    page.line("cache_served_age_seconds_count", answers);
    let help = "Those that were stale, and why they were given.";
    page.by(("cache_stale_served_total", "counter", help), "why", cache.stale_served());
    let (waiting, made, left_out) = app.warm_up.counts();
    page.gauge("warm_up_waiting", "Studies of which pictures are to be made ahead.", waiting);
    page.counter("warm_up_pictures_total", "Pictures made ahead.", made);
    let help = "Studies left out because too many waited.";
    page.counter("warm_up_left_out_total", help, left_out);
}

fn on_disks(app: &App, page: &mut Page) {
    let disks = app.cache.on_disks();
    let of = |value: fn(&DiskCounts) -> u64| disks.iter().map(move |disk| (disk.kind, value(disk)));
    let name = ("cache_disk_bytes", "gauge", "Bytes kept on disk.");
    page.by(name, "store", of(|disk| disk.seen.bytes));
    let name = ("cache_disk_limit_bytes", "gauge", "Bytes that may be kept on disk.");
    page.by(name, "store", of(|disk| disk.seen.limit));
    let help = "Bytes that left the disk for want of room.";
    let name = ("cache_disk_evicted_bytes_total", "counter", help);
    page.by(name, "store", of(|disk| disk.seen.evicted_bytes));
    let help = "Writes that were given up: too many waited, or the disk refused.";
    let name = ("cache_disk_dropped_total", "counter", help);
    page.by(name, "store", of(|disk| disk.dropped + disk.seen.dropped));
    let help = "Files that were found damaged, and removed.";
    let name = ("cache_disk_damaged_total", "counter", help);
    page.by(name, "store", of(|disk| disk.seen.damaged));
}

fn on_nodes(app: &App, page: &mut Page) {
    let Some(seen) = app.cache.on_nodes() else { return };
    page.gauge("cache_shared_connected", "Whether the shared tier answers.", seen.connected.into());
    let help = "Looks at the shared tier, and what came of them.";
    let outcomes = [
        ("hit", seen.hits),
        ("miss", seen.misses),
        ("late", seen.late),
        ("failed", seen.failed),
        ("skipped", seen.skipped),
        ("damaged", seen.damaged),
    ];
    page.by(("cache_shared_gets_total", "counter", help), "outcome", outcomes);
    let help = "What was sent to the shared tier, and what was given up.";
    let writes = [
        ("stored", seen.puts),
        ("dropped", seen.dropped),
        ("removed", seen.removals),
        ("not_removed", seen.removals_lost),
    ];
    page.by(("cache_shared_writes_total", "counter", help), "outcome", writes);
    let bytes = [("in", seen.bytes_in), ("out", seen.bytes_out)];
    let help = "Bytes from and to the shared tier.";
    page.by(("cache_shared_bytes_total", "counter", help), "way", bytes);
    let latency = Spent { time: seen.latency_sum, count: seen.latency_count };
    let help = "How long the shared tier took to answer.";
    page.summary("cache_shared_get_seconds", help, &[("", latency)]);
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

    /// One value for each value of a label; by name, type and help.
    fn by(
        &mut self,
        (name, kind, help): (&str, &str, &str),
        label: &str,
        values: impl IntoIterator<Item = (&'static str, u64)>,
    ) {
        self.family(name, kind, help);
        for (of, value) in values {
            self.line(&format!("{name}{{{label}=\"{of}\"}}"), value);
        }
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
