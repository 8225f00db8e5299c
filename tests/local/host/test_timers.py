"""Timer triggers of the local host."""

from pathlib import Path

from tests.support.host_process import running, write_app


def test_timers_run_on_schedule_and_at_startup(connection_string: str, tmp_path: Path) -> None:
    """A timer runs on its schedule even if it raises. With run_on_startup it also runs once at the start."""
    source = """
        import logging
        import azure.functions as func
        app = func.FunctionApp()

        @app.timer_trigger(arg_name="timer", schedule="%SCHEDULE%")
        async def every_second(timer: func.TimerRequest) -> None:
            logging.info("tick %s %s", timer.past_due, timer.schedule_status)
            raise RuntimeError("on purpose")

        @app.timer_trigger(arg_name="timer", schedule="0 0 0 29 2 *", run_on_startup=True)
        def at_startup(timer: func.TimerRequest, context: func.Context) -> None:
            logging.info("startup %s %s %s", context.function_name, timer.past_due, sorted(timer.schedule_status))

        @app.timer_trigger(arg_name="timer", schedule="0 0 0 29 2 *")
        def not_at_startup(timer: str) -> None:
            logging.info("too early")
    """
    with running(write_app(tmp_path, source), SCHEDULE="* * * * * *", AzureWebJobsStorage=connection_string) as host:
        host.await_text("startup at_startup False ['Last', 'LastUpdated', 'Next']")
        host.await_text("tick False {}", times=3)
        host.await_text("function.failed name=every_second")
        assert "too early" not in host.written


def test_runs_do_not_overlap(connection_string: str, tmp_path: Path) -> None:
    """A run that takes longer than its interval does not overlap with another one. The ticks between are one."""
    source = """
        import asyncio, logging
        import azure.functions as func
        app = func.FunctionApp()
        running = 0

        @app.timer_trigger(arg_name="timer", schedule="* * * * * *")
        async def slow(timer: func.TimerRequest) -> None:
            global running
            running += 1
            await asyncio.sleep(1.5)
            logging.info("at once %s", running)
            running -= 1
    """
    with running(write_app(tmp_path, source), AzureWebJobsStorage=connection_string) as host:
        host.await_text("at once 1", times=3)
        assert "at once 2" not in host.written


def test_after_an_overlong_run_the_next_comes_at_once(connection_string: str, tmp_path: Path) -> None:
    """Ticks that pass during a run are one run, which begins when the other has ended. The next one is on schedule."""
    source = """
        import asyncio, time
        import azure.functions as func
        app = func.FunctionApp()
        runs = 0

        @app.timer_trigger(arg_name="timer", schedule="* * * * * *")
        async def overlong(timer: func.TimerRequest) -> None:
            global runs
            runs += 1
            print(f"run {runs} began {time.time():.3f}", flush=True)
            if runs == 1:
                await asyncio.sleep(3.5)
            print(f"run {runs} ended {time.time():.3f}", flush=True)
    """
    with running(write_app(tmp_path, source), AzureWebJobsStorage=connection_string) as host:
        host.await_text("run 4 ended")
    moments = {line.rpartition(" ")[0]: float(line.split()[-1]) for line in host.written.splitlines() if "run " in line}
    assert moments["run 2 began"] - moments["run 1 ended"] < 0.3
    assert 0.1 < moments["run 3 began"] - moments["run 2 ended"] < 1
    assert 0.5 < moments["run 4 began"] - moments["run 3 ended"] < 1.5
