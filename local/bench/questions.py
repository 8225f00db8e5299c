"""Every question that the benchmark asks, with the figures that answer it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from local.bench.builds.build import Build
from local.bench.faults.kill import kill_keyless_run, kill_run, kill_start_run
from local.bench.faults.refusal import refusal_run
from local.bench.faults.resume import resume_run
from local.bench.faults.rows import KILLED, KILLED_INSIDE, REFUSED, RESUMED
from local.bench.loads.flood import flood_run
from local.bench.loads.idle import idle_run
from local.bench.loads.in_flight import in_flight_run
from local.bench.loads.lone import lone_run
from local.bench.loads.one_host import one_host_run
from local.bench.loads.runs import burst_run, counted_run, jittered_run, paced_run
from local.bench.loads.sizes import Sizes
from local.bench.loads.target import Contender
from local.bench.meters.ratios import Measured
from local.bench.meters.storage_requests import NAMES
from local.bench.plots.pages import Row
from local.bench.streams.crowd import crowd_run
from local.bench.streams.foreground import foreground_run
from local.bench.streams.lines import TIMES
from local.bench.streams.runs import readers_run, streams_run

MS, TENTHS, PLAIN, HUNDREDTHS, SECONDS = "{:.0f} ms", "{:.1f} ms", "{:.0f}", "{:.2f}", "{:.1f} s"


@dataclass(frozen=True)
class Question:
    """What is asked, how it is measured, and whether peers are asked, too."""

    name: str
    asks: str
    rows: Sequence[Row]
    of_builds: Callable[[Build, Sizes], Measured] | None = None
    of_all: Callable[[Contender, Sizes], Measured] | None = None

    def measure(self, contender: Contender, sizes: Sizes) -> Measured | None:
        """Return what was measured of a contender in a new run, or None if it is not asked this question."""
        if self.of_all is not None:
            return self.of_all(contender, sizes)
        return self.of_builds(contender, sizes) if self.of_builds and isinstance(contender, Build) else None

    def is_for(self, contender: Contender) -> bool:
        """Return whether the contender is asked this question."""
        return self.of_all is not None or isinstance(contender, Build)


LOADED = (
    Row("submitted", "submitted", PLAIN),
    Row("accepted", "accepted", PLAIN),
    Row("accepted_per_s", "accepted per second", PLAIN),
    Row("accept_p50_ms", "accept latency, p50", TENTHS),
    Row("accept_p99_ms", "accept latency, p99", TENTHS),
    Row("callback_p50_ms", "completion to callback, p50", MS),
    Row("callback_p99_ms", "completion to callback, p99", MS),
    Row("host_cpu_ms", "CPU of the app, per response", TENTHS),
    Row("azurite_cpu_ms", "CPU of the store, per response", TENTHS),
    Row("cpu_ms", "CPU of both, per response", TENTHS),
    Row("host_peak_mib", "peak memory of the app", "{:.0f} MiB"),
    Row("upstream_calls", "upstream calls per response", HUNDREDTHS),
    Row("invocations", "invocations per response", HUNDREDTHS),
    Row("messages", "queue messages per response", HUNDREDTHS),
    Row("started_twice", "started twice", PLAIN),
    Row("called_back_twice", "called back more than once", PLAIN),
    Row("lost", "lost: accepted, no callback in 90 s", PLAIN),
    Row("load_average", "load average of the machine, 1 min", HUNDREDTHS),
)
IN_FLIGHT = (
    Row("in_flight", "responses in flight", PLAIN),
    Row("late_p50_s", "polls late, p50", SECONDS, plotted=True, aim="<= 3 s"),
    Row("late_p95_s", "polls late, p95", SECONDS, plotted=True),
    Row("gap_p50_s", "time between polls, p50", SECONDS),
    Row("age_p50_s", "age of the responses, p50", SECONDS),
    Row("newcomers", "newcomers accepted", PLAIN),
    Row("accept_p50_ms", "accept latency of newcomers, p50", TENTHS, plotted=True, aim="< 100 ms"),
    Row("accept_p99_ms", "accept latency of newcomers, p99", TENTHS, plotted=True),
    Row("polls_per_s", "polls per second", PLAIN),
    Row("cpu_ms_per_poll", "CPU of the host, per poll", HUNDREDTHS + " ms"),
    Row("peak_mib", "peak memory of the host", "{:.0f} MiB"),
)
ONE_HOST = (
    Row("last_s", "last callback, after the end", HUNDREDTHS + " s", plotted=True, aim="<= 3 s"),
    Row("p50_s", "callback, after the end, p50", HUNDREDTHS + " s", plotted=True),
    Row("accepted", "responses accepted", PLAIN),
    Row("lost", "lost: accepted, no callback in 90 s", PLAIN),
)
FLOOD = (
    Row("quiet_p50_ms", "accept latency of one caller, alone, p50", TENTHS),
    Row("quiet_p95_ms", "accept latency of one caller, alone, p95", TENTHS, plotted=True),
    Row("flood_p50_ms", "while another one floods, p50", TENTHS),
    Row("flood_p95_ms", "while another one floods, p95", TENTHS, plotted=True),
    Row("flood_worst_ms", "while another one floods, worst", TENTHS),
    Row("times_p50", "in the flood, times that alone, p50", HUNDREDTHS),
    Row("times_p95", "in the flood, times that alone, p95", HUNDREDTHS, plotted=True, aim="<= 1.5"),
    Row("creates", "creates in the flood", PLAIN),
    Row("refused", "of them refused", PLAIN, aim="0"),
    Row("flood_accepted", "accepted of the flood", PLAIN),
    Row("flood_per_s", "accepted of the flood, a second", PLAIN, plotted=True),
    Row("beside_well_ms", "callback, while all hosts work, p95", MS),
    Row("beside_dead_ms", "beside dead hosts of another, p95", MS),
    Row("times_dead", "beside them, times without, p95", HUNDREDTHS, plotted=True, aim="<= 1.5"),
    Row("called_back", "called back beside them, of 1", HUNDREDTHS, aim="1"),
)
IDLE = (
    Row("app_ms_per_s", "CPU of the app, per second", TENTHS, plotted=True, aim="<= 4 ms"),
    Row("store_ms_per_s", "CPU of the store, per second", TENTHS, plotted=True),
    Row("ms_per_s", "CPU of both, per second", TENTHS, plotted=True),
    Row("requests_per_s", "storage requests per second", "{:.1f}", plotted=True, aim="<= 5"),
)
LONE = (
    Row("short_requests", "storage requests of a response of 2 s", PLAIN, plotted=True, aim="<= 6"),
    Row("long_requests", "storage requests of a response of 60 s", PLAIN, plotted=True, aim="<= 60"),
    Row("short_messages", "queue messages of a response of 2 s", PLAIN, plotted=True),
    Row("long_messages", "queue messages of a response of 60 s", PLAIN, plotted=True),
    Row("minute_requests", "left out: requests of timers, each minute", PLAIN),
)
COUNTED = (
    Row("all", "storage requests", HUNDREDTHS, plotted=True),
    Row("own", "of them a response's own", HUNDREDTHS, plotted=True),
    *(Row(name, f"of them {name}", HUNDREDTHS) for name in NAMES),
    Row("invocations", "invocations", HUNDREDTHS, plotted=True),
    Row("messages", "queue messages", HUNDREDTHS, plotted=True),
)
STREAMS = (
    *(
        Row(
            f"{name}_p{percent}",
            f"{label}, p{percent}",
            TENTHS,
            plotted=percent == 50,
            aim=aim if percent == 50 else "",
        )
        for label, name, aim in TIMES
        for percent in (50, 99)
    ),
    Row("missing", "events that never came, streams at once", PLAIN, aim="0"),
    Row("peak_mib", "peak memory of the host", "{:.0f} MiB"),
    Row("host_ms_per_s", "CPU of the host, per streamed second", TENTHS),
    Row("azurite_ms_per_s", "CPU of Azurite, per streamed second", TENTHS),
    Row("requests_live", "storage requests per streamed second", HUNDREDTHS),
    Row("requests_reader", "and of a reader of the log, per second", HUNDREDTHS),
)
CROWD = (
    Row("crowd", "streams of 10 events a second at once", PLAIN),
    Row("crowd_p50", "events late, live, p50", TENTHS, plotted=True, aim="<= 20 ms"),
    Row("crowd_p99", "events late, live, p99", TENTHS, plotted=True),
    Row("missing", "events that never came", PLAIN),
    Row("host_ms_per_s", "CPU of the host, per streamed second", TENTHS, plotted=True),
    Row("peak_mib", "peak memory of the host", "{:.0f} MiB"),
    Row("readers", "readers of the log of one stream", PLAIN),
    Row("queries_per_s", "their storage queries per second", "{:.1f}", plotted=True, aim="<= 15"),
    Row("readers_p50", "events late at them, p50", TENTHS, plotted=True),
)
WITH, WITHOUT = "with background mode", "without"
READ_AIMS = {"foreground_same_50": "<= 10 ms", "foreground_other_50": "<= 150 ms"}
READERS = tuple(
    Row(
        key := f"{mode}_{where}_{percent}",
        f"{words}: {reader}, p{percent}",
        TENTHS,
        plotted=percent == 50,
        aim=READ_AIMS.get(key, ""),
    )
    for mode, words in (("background", WITH), ("foreground", WITHOUT))
    for where, reader in (("live", "live"), ("same", "same host"), ("other", "another host"))
    for percent in (50, 99)
)
FOREGROUND = (
    *(
        Row(f"{mode}_{name}", f"{words}: {what}", TENTHS, plotted=True, aim=aim if mode == "foreground" else "")
        for name, what, aim in (
            ("instant_ms", "instant model", "<= 40 ms"),
            ("second_ms", "model of 1 s", "<= 1060 ms"),
            ("first_ms", "first delta", ""),
            ("late_ms", "events late", "<= 10 ms"),
        )
        for mode, words in (("background", WITH), ("foreground", WITHOUT))
    ),
    Row("first_later_ms", "first delta later without", TENTHS, aim="<= 30 ms"),
)


def _loaded(*plotted: str, **aims: str) -> tuple[Row, ...]:
    """Return the rows of a load, with those keys plotted and these aims by key."""
    return tuple(replace(row, plotted=row.key in plotted, aim=aims.get(row.key, "")) for row in LOADED)


QUESTIONS = (
    Question(
        "paced",
        "responses of 2 s with callback, 25 a second",
        _loaded(
            *("host_cpu_ms", "cpu_ms", "accept_p50_ms", "callback_p50_ms"),
            host_cpu_ms="<= 0.4 x",
            cpu_ms="<= 1.2 x procrastinate",
            lost="0",
        ),
        of_all=paced_run,
    ),
    Question(
        "jittered",
        "responses of 1.6 to 2.4 s with callback, 25 a second",
        _loaded("callback_p50_ms", "callback_p99_ms", "cpu_ms", callback_p50_ms="<= 0.35 x", lost="0"),
        of_all=jittered_run,
    ),
    Question(
        "burst",
        "responses of 1.6 to 2.4 s with callback, as fast as 16 clients submit them",
        _loaded(
            *("accepted_per_s", "callback_p50_ms", "callback_p99_ms", "cpu_ms"),
            accepted_per_s=">= 3 x",
            callback_p50_ms="<= 0.2 x",
            lost="0",
        ),
        of_all=burst_run,
    ),
    Question(
        "kill",
        "the app is killed in the middle of 25 responses a second, and started again after 2 s",
        KILLED,
        of_all=kill_run,
    ),
    Question(
        "kill-start",
        "the same, while calls that start work are out for 300 ms, and the model knows repeated calls by their key",
        KILLED_INSIDE,
        of_all=kill_start_run,
    ),
    Question(
        "kill-keyless",
        "the same, and the model knows no keys, so that each call starts new work",
        KILLED_INSIDE,
        of_all=kill_keyless_run,
    ),
    Question("refusal", "every fifth callback is refused twice before it is accepted", REFUSED, of_all=refusal_run),
    Question("resume", "each stream is dropped after each event, and resumed", RESUMED, of_all=resume_run),
    Question("idle", "nothing happens, after a few responses", IDLE, of_all=idle_run),
    Question("counted", "what a response of 2 s with callback causes, at 25 a second", COUNTED, of_builds=counted_run),
    Question("lone", "what one response with callback causes, alone on the host", LONE, of_builds=lone_run),
    Question(
        "in-flight",
        "polls and newcomers with many young responses in flight, late by a schedule of a tenth of the age",
        IN_FLIGHT,
        of_builds=in_flight_run,
    ),
    Question("one-host", "all responses end at once, and one receiver takes 0.2 s", ONE_HOST, of_builds=one_host_run),
    Question(
        "flood",
        "one caller beside another that floods, and beside one whose hosts are dead",
        FLOOD,
        of_builds=flood_run,
    ),
    Question("streams", "from the upstream's event to the client's", STREAMS, of_builds=streams_run),
    Question("readers", "how late events come with 10 streams at once", READERS, of_builds=readers_run),
    Question("crowd", "many streams on one host, and many readers of one stream", CROWD, of_builds=crowd_run),
    Question(
        "foreground", "foreground calls and streams, p50, by the upstream's mode", FOREGROUND, of_builds=foreground_run
    ),
)
