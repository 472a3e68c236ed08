#!/usr/bin/env python3
"""How large a cache has to be, and how many nodes are needed: the tables of docs/scaling.md.

    simulate.py                                  prints the tables
    simulate.py --page docs/scaling.md           puts them into the page
    simulate.py --trace FILE                     writes the requests of a small department
    simulate.py --replay FILE --disk 2MB --memory 0
                                                 predicts how many of the requests of a trace are hits

A trace has a line for each thumbnail that is asked for: seconds, study, series. Series 0 is the thumbnail of
the study itself, which is that of its first series.

Everything above "The cache" is an assumption or a measurement of ours: put your own there.
"""

import argparse
import contextlib
import io
import math
import random
import re
import sys
from collections import OrderedDict

SEED = 1

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40
HOUR, DAY, YEAR = 3600, 86400, 365 * 86400

# What is looked at, and when: assumptions -----------------------------------------------------------------

# Views of a study for its own sake: who made it, who reads it, who asked for it, and one of them twice.
OWN_VIEWS = 4.0
# Half of them within six hours, nineteen of twenty within a week: it is read the same day, and asked about
# on the ward until the patient leaves.
OWN_MEDIAN = 6 * HOUR
OWN_SIGMA = 2.0
# How often a study is opened beside a later one of the same patient.
PRIOR_VIEWS = 1.0
# Examinations come in clusters: in a clean archive four of five matching priors were there after a month
# (Siegel and Reiner, J Digit Imaging 1998). So half of these views come within some weeks ...
PRIOR_SOON = 0.5
PRIOR_SOON_MEAN = 14 * DAY
# ... and of the others half as many each year: of requests for what was older than a year, 48 % were for the
# second year, 22 % for the third, 13 % for the fourth (van Ooijen, RSNA 2007).
PRIOR_HALF_LIFE = YEAR
# Years of studies that are held, and may be looked at. Of older ones such requests are few (same source).
HELD_YEARS = 5

# Share of studies, and their series. Projection radiography is about half of what a hospital makes, with
# one or two images; CT and MR bring the series.
HOSPITAL_MIX = [(0.45, 2), (0.15, 1), (0.20, 6), (0.12, 9), (0.05, 4), (0.03, 2)]
# An archive with 500 instances in a study holds CT and MR.
CLOUD_MIX = [(0.60, 6), (0.40, 9)]

# Work is done on 250 days; the busiest hour has an eighth of a day.
WORKDAYS = 250
PEAK_HOUR = 0.125

# Name, studies a year, mix of series, share of views that go to any study that is held, at whim: an audit or
# a lecture in a hospital, every second one where cohorts are put together.
HOSPITAL = ("hospital", 50_000, HOSPITAL_MIX, 0.05)
REGION = ("region", 20 * 50_000, HOSPITAL_MIX, 0.05)
CLOUD = ("cloud archive", 400_000, CLOUD_MIX, 0.50)

# What was measured: docs/scaling.md says how ---------------------------------------------------------------

# Bytes of records, as they are in memory without the 200 that each entry takes beside them.
PICTURE = 10_700
IDENTITY = 32
STANDING = 152
SOURCE = 524_400
# A node of two cores: thumbnails that are fetched and drawn, or are found in memory, a second. The first was measured
# on a machine that was busy with other things, the least of several runs.
COLD_PER_SECOND = 85
HITS_PER_SECOND = 49_000
# What the thumbnail of a series takes in Redis: standing, identity and picture, with keys, sets and expiry;
# and that of the study, which is one of these: another standing.
REDIS_THUMBNAIL = 13_700
REDIS_STUDY = 600

# What is configured: the defaults --------------------------------------------------------------------------

CACHE_TTL = HOUR
INDEX_TTL = 10
STALE_WHILE_REVALIDATE = 24 * HOUR
# Beside it, where the archive tells what has changed.
PATIENT = 720 * HOUR
# Of nodes: half of what they can do, and one that may fail.
UTILISATION = 0.5
SPARE_NODES = 1

# The simulated archive has so many studies a year; caches are as much smaller as it is. Which studies are in
# the sample does not depend on what is asked of them, so that rates are those of the whole.
SAMPLE = 2_000
# Fewer studies than that in a cache of the sample tell nothing.
FEWEST = 10
# A replay is the mean of so many nodes.
NODES_OF_A_REPLAY = 9

# The cache -------------------------------------------------------------------------------------------------
# As crates/disk-store and crates/proxy-server/src/cache have it.

BLOCK = 4096  # file.rs: BLOCK
FILE_OVERHEAD = 48 + 16  # file.rs: HEADER, CHECKSUM
LENGTH_PREFIX = 4  # record.rs: headed
LARGEST = 8  # lib.rs: of the limit, what one blob may take
TENTHS_LEFT = 9  # lib.rs: when there is too much, so much is left
SHARDS = 8  # memory.rs
ENTRY_OVERHEAD = 200  # memory.rs: OVERHEAD
READY_HEADERS = 2048  # doorstep.rs: HEADERS
SETTLED = 600  # age.rs


def room(record):
    """What a record takes on disk: whole blocks."""
    return -(-(record + LENGTH_PREFIX + FILE_OVERHEAD) // BLOCK) * BLOCK


class Disk:
    """A store: groups that leave as a whole, those that were not used for the longest time first."""

    def __init__(self, limit, seed=SEED):
        self.limit = limit
        self.bytes = 0
        # In order of use: group -> [second of use, a random name, bytes, keys].
        self.groups = OrderedDict()
        self.names = random.Random(seed)

    def get(self, group, key, now):
        there = self.groups.get(group)
        if there is None or key not in there[3]:
            return False
        there[0] = int(now)
        self.groups.move_to_end(group)
        return True

    def put(self, group, key, size, now, in_one_piece=True):
        if in_one_piece and size > self.limit // LARGEST or self.limit == 0:
            return
        there = self.groups.get(group)
        if there is None:
            there = self.groups[group] = [0, self.names.random(), 0, {}]
            self.bytes += BLOCK
        more = size - there[3].get(key, 0)
        there[3][key] = size
        there[2] += more
        self.bytes += more
        there[0] = int(now)
        self.groups.move_to_end(group)
        if self.bytes > self.limit:
            self.evict()

    def evict(self):
        left = self.limit // 10 * TENTHS_LEFT
        while self.bytes > left:
            for _, group in sorted(self.oldest()):
                if self.bytes > left:
                    self.bytes -= self.groups.pop(group)[2] + BLOCK

    def oldest(self):
        """Uses are known by the second; among those of one second, names decide."""
        second = next(iter(self.groups.values()))[0]
        for group, there in self.groups.items():
            if there[0] != second:
                break
            yield there[1], group


class Memory:
    """Entries of at most so many bytes, in shards; the least recently used leaves."""

    def __init__(self, limit, shards=SHARDS, seed=SEED):
        self.limit = limit // shards
        self.shards = [(OrderedDict(), [0]) for _ in range(shards)]
        self.places, self.names = {}, random.Random(seed)

    def shard(self, key):
        place = self.places.get(key)
        if place is None:
            place = self.places[key] = self.names.randrange(len(self.shards))
        return self.shards[place]

    def get(self, key):
        entries, _ = self.shard(key)
        if key not in entries:
            return False
        entries.move_to_end(key)
        return True

    def put(self, key, size, in_one_piece=True):
        weight = size + ENTRY_OVERHEAD
        if in_one_piece and weight > self.limit // 2:
            return
        entries, total = self.shard(key)
        total[0] += weight - entries.pop(key, 0)
        entries[key] = weight
        while total[0] > self.limit:
            total[0] -= entries.popitem(last=False)[1]


class Kind:
    """One kind of record: in memory first, then on disk."""

    def __init__(self, memory, disk, group, size, seed):
        self.memory, self.disk, self.group, self.size = Memory(memory, seed=seed), disk, group, size

    def get(self, study, key, now):
        if self.memory.get((study, key)):
            return True
        if not self.disk.get((study, self.group), (self.size, key), now):
            return False
        self.memory.put((study, key), self.size)
        return True

    def put(self, study, key, now):
        self.memory.put((study, key), self.size)
        self.disk.put((study, self.group), (self.size, key), room(self.size), now)


class Node:
    """A proxy, asked for one thumbnail after another (recall.rs, thumbnail.rs, picture.rs)."""

    def __init__(self, memory, disk, sizes, seed):
        # mod.rs: Cache::open, disks
        pictures, sources = Disk(disk - disk // 4, seed), Disk(disk // 4, seed)
        self.standings = Kind(memory // 16, pictures, "index", sizes.standing, seed)
        self.identities = Kind(memory // 8, pictures, "index", sizes.identity, seed)
        self.sources = Kind(memory // 16 * 5, sources, "content", sizes.source, seed)
        self.pictures = Kind(memory // 8 * 3, pictures, "content", sizes.picture, seed)
        self.ready, self.ready_size = Memory(memory // 8, seed=seed), sizes.picture + READY_HEADERS

    def asks(self, study, series, now):
        """Whether it is a hit: an answer for which the archive is not asked."""
        if self.ready.get((study, series)):
            return True
        scope, image = ("standing", series), ("image", series or 1)
        found = self.standings.get(study, scope, now) and self.of_image(study, image, now)
        if found == "picture":
            self.ready.put((study, series), self.ready_size)
        if not found:
            self.made(study, scope, image, now)
        return bool(found)

    def of_image(self, study, image, now):
        if not self.identities.get(study, image, now):
            return None
        if self.pictures.get(study, image, now):
            return "picture"
        if not self.sources.get(study, image, now):
            return None
        self.pictures.put(study, image, now)
        return "source"

    def made(self, study, scope, image, now):
        """The archive says what stands for it; what that is drawn from may be known."""
        if not self.of_image(study, image, now):
            known = self.identities.get(study, image, now)
            if not (known and self.pictures.get(study, image, now)):
                self.pictures.put(study, image, now)
            self.identities.put(study, image, now)
            self.sources.put(study, image, now)
        self.standings.put(study, scope, now)


# Views of a year -------------------------------------------------------------------------------------------


class Study:
    """What of a study is asked for at each view: its own thumbnail, and that of each series."""

    __slots__ = ("name", "arrived", "series", "thumbnails", "index", "content", "memory")

    def __init__(self, name, arrived, series):
        self.name, self.arrived, self.series = name, arrived, series
        self.thumbnails = 1 + series
        self.index = (1 + series) * room(STANDING) + series * room(IDENTITY)
        self.content = series * room(PICTURE)
        self.memory = series * (PICTURE + ENTRY_OVERHEAD)

    def on_disk(self):
        return self.index + self.content + 2 * BLOCK

    def files(self):
        """With two directories."""
        return 2 + (1 + self.series) + 2 * self.series

    def in_redis(self):
        return self.series * REDIS_THUMBNAIL + REDIS_STUDY


def poisson(rng, mean):
    limit, count, product = math.exp(-mean), 0, rng.random()
    while product > limit:
        count, product = count + 1, product * rng.random()
    return count


def series_of(rng, mix):
    at = rng.random()
    for share, series in mix:
        at -= share
        if at < 0:
            return series
    return mix[-1][1]


def delay_of_prior(rng):
    if rng.random() < PRIOR_SOON:
        return rng.expovariate(1 / PRIOR_SOON_MEAN)
    return rng.expovariate(math.log(2) / PRIOR_HALF_LIFE)


def archive(rng, studies, mix, begin, end):
    """Studies as they arrive, `studies` a year."""
    count = round(studies * (end - begin) / YEAR)
    arrivals = sorted(rng.uniform(begin, end) for _ in range(count))
    return [Study(n, arrived, series_of(rng, mix)) for n, arrived in enumerate(arrivals)]


def views(rng, held, at_whim, begin, end):
    """Of these studies, in order: (second, study)."""
    seen = []
    for study in held:
        for _ in range(poisson(rng, OWN_VIEWS)):
            seen.append((study.arrived + OWN_MEDIAN * math.exp(rng.gauss(0, OWN_SIGMA)), study))
        for _ in range(poisson(rng, PRIOR_VIEWS)):
            seen.append((study.arrived + delay_of_prior(rng), study))
    seen = [view for view in seen if begin <= view[0] < end]
    for _ in range(round(len(seen) * at_whim / (1 - at_whim))):
        second, study = rng.uniform(begin, end), rng.choice(held)
        if study.arrived <= second:
            seen.append((second, study))
    seen.sort(key=lambda view: (view[0], view[1].name))
    return seen


class Year:
    """The views of an archive's last year, after one for the cache to fill."""

    def __init__(self, studies, mix, at_whim):
        rng = random.Random(SEED)
        self.scale = studies / SAMPLE
        self.held = archive(rng, SAMPLE, mix, -(HELD_YEARS - 1) * YEAR, YEAR)
        self.views = views(rng, self.held, at_whim, -YEAR, YEAR)
        of_year = [study for second, study in self.views if second >= 0]
        self.thumbnails = sum(study.thumbnails for study in of_year)
        self.views_of_year = len(of_year)
        self.arrived = [study for study in self.held if study.arrived >= 0]
        self.on_disk = sum(study.on_disk() for study in self.held)
        self.events = {ahead: self.events_of(ahead) for ahead in (False, True)}

    def events_of(self, ahead):
        """Views, and arrivals where they fill the cache: all of them, or those before the first view."""
        arrivals = [(study.arrived, 0, study) for study in self.held if study.arrived < -YEAR or ahead]
        events = arrivals + [(second, 1, study) for second, study in self.views]
        return sorted(events, key=lambda event: (event[0], event[1], event[2].name))

    def run(self, disk, ahead, memory=0):
        """With a `cache_disk` and a `cache_memory` for the whole archive; thumbnails made ahead, or not."""
        store = Disk(int(disk / self.scale) * 3 // 4)
        near = Memory(int(memory / self.scale / 8 * 3), 1)
        count = Count()
        checked = {}
        for now, is_view, study in self.events[ahead]:
            if is_view and near.get(study):
                found = "memory"
            else:
                index = store.get((study, "index"), 0, now)
                content = store.get((study, "content"), 0, now)
                found = "disk" if index and content else None
                if not found:
                    # All thumbnails of a study at once: in a sample they are too much for one piece.
                    store.put((study, "index"), 0, study.index, now, in_one_piece=False)
                    store.put((study, "content"), 0, study.content, now, in_one_piece=False)
                near.put(study, study.memory, in_one_piece=False)
            past = past_its_lifetime(checked, study, now, found)
            if is_view and now >= 0:
                count.view(study, found, past)
        return count


def past_its_lifetime(checked, study, now, found):
    """Seconds for which a hit is older than what is shown without asking, and whether it may be shown stale
    for some (age.rs: of_collection). Keeps when the archive was asked."""
    if not found:
        checked[study] = (now, now)
        return math.inf
    since, last = checked[study]
    unchanged = last - since
    past = now - last - min(max(unchanged / 2, INDEX_TTL), CACHE_TTL)
    if past >= 0:
        checked[study] = (since, now)
    return past if past < 0 or unchanged >= SETTLED else math.inf


class Count:
    """Thumbnails of a year."""

    def __init__(self):
        self.all = self.memory = self.disk = self.at_once = self.at_once_if_patient = 0
        self.missed_in_redis = 0

    def view(self, study, found, past):
        self.all += study.thumbnails
        self.memory += study.thumbnails * (found == "memory")
        self.disk += study.thumbnails * (found == "disk")
        self.missed_in_redis += study.in_redis() * (not found)
        self.at_once += study.thumbnails * (past < STALE_WHILE_REVALIDATE)
        self.at_once_if_patient += study.thumbnails * (past < PATIENT)

    def hits(self):
        return (self.memory + self.disk) / self.all


# The tables ------------------------------------------------------------------------------------------------


class Scenario:
    """One of the three, with what was found out of it."""

    def __init__(self, described, year):
        self.name, self.studies, self.mix, _ = described
        self.year = year
        # The sample may be of another archive with the same views.
        self.scale = self.studies / SAMPLE
        self.everything = self.year.on_disk * self.scale / 3 * 4

    def per_second_at_peak(self, of_sample):
        return of_sample * self.scale / WORKDAYS * PEAK_HOUR / 3600


def size(bytes_):
    for unit, name in ((TIB, "TiB"), (GIB, "GiB"), (MIB, "MiB")):
        if bytes_ >= unit:
            value = bytes_ / unit
            return f"{value:.1f} {name}" if value < 10 else f"{value:.0f} {name}"
    return f"{bytes_ / KIB:.0f} KiB"


def percent(share):
    return f"{100 * share:.1f} %"


def table(head, rows):
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")
    print()


# Of a cache that holds everything.
SHARES = [0.005, 0.01, 0.02, 0.04, 0.12, 0.2, 0.3, 0.45, 0.7, 1.0]


def curve(year, ahead):
    everything = year.on_disk * year.scale / 3 * 4
    # A tenth more, since a cache that is full has been emptied by a tenth.
    return [(share, year.run(everything * share * 1.1, ahead)) for share in SHARES]


def share_for(curve_, wanted):
    """The share of everything for a hit rate, between two of the curve."""
    before = (0.0, 0.0)
    for share, count in curve_:
        rate = count.hits()
        if rate >= wanted:
            part = (wanted - before[1]) / (rate - before[1])
            return before[0] + part * (share - before[0])
        before = (share, rate)
    return None


def print_studies(scenarios):
    print("<!-- studies -->")
    rows = []
    for scenario in scenarios:
        year = scenario.year
        held = len(year.held)
        rows.append([
            scenario.name,
            f"{scenario.studies:,}".replace(",", " "),
            f"{held * scenario.scale / 1e6:.2f} million",
            f"{sum(study.series for study in year.held) / held:.1f}",
            f"{year.on_disk / held / KIB:.0f} KiB",
            f"{year.thumbnails * scenario.scale / 1e6:.1f} million",
            f"{scenario.per_second_at_peak(year.thumbnails):.1f}",
            size(scenario.everything),
            f"{sum(study.files() for study in year.held) * scenario.scale / 1e6:.0f} million",
        ])
    head = ["", "studies a year", "studies held", "series of a study", "on disk for a study",
            "thumbnails asked for in a year", "a second at the busiest hour",
            "`cache_disk` for everything", "files of it"]
    table(head, rows)


def print_hits(name, scenarios, on_demand, ahead):
    print(f"<!-- hits: {name} -->")
    rows = []
    for (share, cold), (_, made) in zip(on_demand, ahead):
        rows.append(
            [size(scenario.everything * share * 1.1) for scenario in scenarios]
            + [percent(cold.hits()), percent(made.hits()), percent(made.at_once / made.all),
               percent(made.at_once_if_patient / made.all)]
        )
    head = [f"`cache_disk`, {scenario.name}" for scenario in scenarios]
    head += ["hits, made when asked for", "hits, made on arrival", "of all, at once",
             "at once with `stale_while_revalidate = \"720h\"`"]
    table(head, rows)


def print_sizes(scenarios, curves):
    print("<!-- sizes -->")
    rows = []
    for scenario in scenarios:
        for mode, curve_ in zip(("when asked for", "on arrival"), curves[scenario.name]):
            cells = []
            for wanted in (0.90, 0.95, 0.99):
                share = share_for(curve_, wanted)
                most = percent(curve_[-1][1].hits())
                cells.append(size(scenario.everything * share * 1.1) if share else f"not reached: {most} at most")
            rows.append([scenario.name, mode, *cells])
    table(["", "made", "90 % hits", "95 %", "99 %"], rows)


def print_nodes(scenarios, curves):
    print("<!-- nodes -->")
    rows = []
    for scenario in scenarios:
        year = scenario.year
        for mode, curve_ in zip(("when asked for", "on arrival"), curves[scenario.name]):
            is_ahead = mode == "on arrival"
            # What a tenth of everything does, and nothing that is smaller than that.
            count = next(count for share, count in curve_ if share >= 0.1)
            arriving = sum(study.thumbnails for study in year.arrived) if is_ahead else 0
            missed = count.all - count.memory - count.disk
            asked = count.all - count.at_once - missed
            peak = scenario.per_second_at_peak
            # One for which the archive is asked again counts as one that is drawn: it may send the frame.
            load = peak(arriving + missed + asked) / COLD_PER_SECOND + peak(count.all) / HITS_PER_SECOND
            nodes = max(1, math.ceil(load / UTILISATION)) + SPARE_NODES
            backlog = sum(study.thumbnails for study in year.held) * scenario.scale / COLD_PER_SECOND
            rows.append([
                scenario.name, mode, f"{peak(count.all):.1f}", f"{peak(missed):.2f}", f"{peak(arriving):.2f}",
                f"{peak(asked):.2f}", percent(load), nodes, f"{backlog / HOUR:.1f} h",
            ])
    head = ["", "made", "asked for", "missed", "made ahead", "archive asked again", "of one node", "nodes",
            "everything made by one node"]
    table(head, rows)


def print_memory(scenarios):
    print("<!-- memory -->")
    rows = []
    for memory in (64 * MIB, 256 * MIB, GIB, 4 * GIB, 16 * GIB):
        row = [size(memory)]
        for scenario in scenarios:
            scaled = memory * scenario.year.scale / scenario.scale
            of_study = sum(study.memory for study in scenario.year.held) / len(scenario.year.held)
            if scaled / scenario.year.scale / 8 * 3 < FEWEST * of_study:
                row.append("–")
                continue
            count = scenario.year.run(scenario.year.on_disk * scenario.year.scale * 2, True, scaled)
            row.append(percent(count.memory / count.all))
        rows.append(row)
    table(["`cache_memory` of all nodes", *(f"found there, {s.name}" for s in scenarios)], rows)


def print_redis(scenarios, curves):
    print("<!-- redis -->")
    rows = []
    for scenario in scenarios:
        year = scenario.year
        count = next(count for share, count in curves[scenario.name][1] if share >= 0.1)
        arrived = sum(study.in_redis() for study in year.arrived)
        made = (arrived + count.missed_in_redis) * scenario.scale
        keep = (CACHE_TTL + STALE_WHILE_REVALIDATE) / DAY
        everything = sum(study.in_redis() for study in year.held) * scenario.scale
        rows.append([scenario.name, size(made / WORKDAYS * keep), size(made / 365 * 30), size(everything)])
    head = ["", "25 h, the defaults", "`stale_while_revalidate = \"720h\"`", "everything"]
    table(head, rows)


def print_tables():
    hospitals = Year(*HOSPITAL[1:])
    cloud = Year(*CLOUD[1:])
    scenarios = [Scenario(HOSPITAL, hospitals), Scenario(REGION, hospitals), Scenario(CLOUD, cloud)]
    curves = {}
    for year, named in ((hospitals, scenarios[:2]), (cloud, scenarios[2:])):
        both = (curve(year, False), curve(year, True))
        for scenario in named:
            curves[scenario.name] = both
    print_studies(scenarios)
    for name, of in (("hospital and region", scenarios[:2]), ("cloud archive", scenarios[2:])):
        print_hits(name, of, *curves[of[0].name])
    print_sizes(scenarios, curves)
    print_nodes(scenarios, curves)
    print_memory(scenarios)
    print_redis(scenarios, curves)


# Traces ----------------------------------------------------------------------------------------------------


def write_trace(path, studies):
    """The requests of a department that makes so many studies in a month, and holds no others."""
    rng = random.Random(SEED)
    held = archive(rng, studies * YEAR / (30 * DAY), HOSPITAL_MIX, 0, 30 * DAY)
    with open(path, "w", encoding="ascii") as file:
        for second, study in views(rng, held, HOSPITAL[3], 0, 60 * DAY):
            for series in range(study.thumbnails):
                file.write(f"{second:.3f} {study.name + 1} {series}\n")


def replay(path, memory, disk, sizes):
    with open(path, encoding="ascii") as file:
        asked = [line.split() for line in file]
    rates = []
    # Names, and with them what leaves within a second, are other ones in each node.
    for seed in range(NODES_OF_A_REPLAY):
        node = Node(memory, disk, sizes, seed)
        hits = sum(node.asks(study, int(series), float(second)) for second, study, series in asked)
        rates.append(100 * hits / max(len(asked), 1))
    mean = sum(rates) / len(rates)
    print(f"requests {len(asked)} rate {mean:.1f} % ({min(rates):.1f} to {max(rates):.1f})")


def put_into(path):
    """Each table in the place of the one that is called the same."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        print_tables()
    with open(path, encoding="utf-8") as file:
        page = file.read()
    for block in printed.getvalue().strip().split("\n\n"):
        name = re.escape(block.split("\n")[0])
        page, count = re.subn(rf"{name}\n(\|.*\n)*", lambda _, block=block: block + "\n", page)
        if count != 1:
            sys.exit(f"{path} has {count} places for {name}")
    with open(path, "w", encoding="utf-8") as file:
        file.write(page)


UNITS = {"KB": 1000, "MB": 10**6, "GB": 10**9, "KiB": KIB, "MiB": MIB, "GiB": GIB, "B": 1, "": 1}


def a_size(text):
    if text == "off":
        return 0
    number = text.rstrip("KMGiB")
    return int(float(number) * UNITS[text[len(number):].strip()])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", metavar="FILE", help="put the tables into this page")
    parser.add_argument("--trace", metavar="FILE", help="write the requests of a small department")
    parser.add_argument("--studies", type=int, default=60, help="how many studies it has")
    parser.add_argument("--replay", metavar="FILE", help="predict the hits of a trace")
    parser.add_argument("--disk", type=a_size, default=0, help="cache_disk")
    parser.add_argument("--memory", type=a_size, default=0, help="cache_memory")
    for name, default in (("picture", PICTURE), ("identity", IDENTITY), ("standing", STANDING), ("source", SOURCE)):
        parser.add_argument(f"--{name}", type=int, default=default, help="bytes of such a record")
    said = parser.parse_args()
    if said.page:
        put_into(said.page)
    elif said.trace:
        write_trace(said.trace, said.studies)
    elif said.replay:
        replay(said.replay, said.memory, said.disk, said)
    else:
        print_tables()


if __name__ == "__main__":
    sys.exit(main())
