"""The rows of the pages about what breaks. Each says whether less of it is better."""

from local.bench.plots.pages import Row

PLAIN, SECONDS, MS = "{:.0f}", "{:.1f} s", "{:.1f} ms"

TWICE = (
    Row("started_twice", "started twice", PLAIN, plotted=True, aim="0", less_wins=True),
    Row("asked_twice", "asked twice to start, with one key", PLAIN, plotted=True, less_wins=True),
    Row("called_back_twice", "called back more than once", PLAIN, plotted=True, less_wins=True),
)
KILLED = (
    Row("worst_s", "late: end to callback, worst", SECONDS, plotted=True, aim="<= 25 s", less_wins=True),
    Row("p99_s", "late: end to callback, p99", SECONDS, plotted=True, less_wins=True),
    Row("p50_s", "late: end to callback, p50", SECONDS, plotted=True, less_wins=True),
    Row("lost", "lost: accepted, no callback in 120 s", PLAIN, plotted=True, aim="0", less_wins=True),
    Row("failed", "accepted, and ended as failed", PLAIN, aim="0", less_wins=True),
    *TWICE,
    Row("refused", "create calls without an answer", PLAIN, less_wins=True),
    Row("unanswered", "of them went on, and called back", PLAIN),
)
KILLED_INSIDE = (*KILLED, Row("held", "start calls that were out at the kill", PLAIN))
REFUSED = (
    Row("accepted", "responses", PLAIN),
    Row("refusing", "of them refused twice, with a 503", PLAIN),
    Row("refused_worst_s", "late: end to callback of these in 240 s, worst", SECONDS, plotted=True, less_wins=True),
    Row("refused_p50_s", "the same, p50", SECONDS, plotted=True, less_wins=True),
    Row("others_worst_s", "late: end to callback of the others, worst", SECONDS, plotted=True, less_wins=True),
    Row("others_p95_s", "the same, p95", SECONDS, plotted=True, less_wins=True),
    Row("lost", "lost: not accepted in 240 s, and given up", PLAIN, plotted=True, aim="0", less_wins=True),
    Row("still_tried", "late: not accepted in 240 s, and still tried", PLAIN, plotted=True, less_wins=True),
    *TWICE,
    Row("after_2_s", "reckoned: accepted after two 500", SECONDS, less_wins=True),
    Row("after_4_s", "reckoned: accepted after four 500", SECONDS, less_wins=True),
    Row("gives_up_s", "reckoned: last attempt, if all get a 500", "{:,.0f} s", less_wins=False),
)
RESUMED = (
    Row("streams", "streams at once", PLAIN),
    Row("events", "events", PLAIN),
    Row("resumes", "resumes, live and of the log", PLAIN),
    Row("lost", "events lost", PLAIN, plotted=True, aim="0", less_wins=True),
    Row("doubled", "events doubled", PLAIN, plotted=True, aim="0", less_wins=True),
    Row("wrong_text", "readers whose text differs", PLAIN, plotted=True, aim="0", less_wins=True),
    Row("logged_p50_ms", "resume of the log to its event, p50", MS, plotted=True, less_wins=True),
    Row("logged_p99_ms", "the same, p99", MS, plotted=True, less_wins=True),
)
