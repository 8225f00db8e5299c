"""Timer triggers of the local host."""

from pathlib import Path

from tests.support.host_process import running, write_app


def test_timers_run_on_schedule_and_at_startup(tmp_path: Path) -> None:
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
    with running(write_app(tmp_path, source), SCHEDULE="* * * * * *") as host:
        host.await_text("startup at_startup False ['Last', 'LastUpdated', 'Next']")
        host.await_text("tick False {}", times=3)
        host.await_text("function.failed name=every_second")
        assert "too early" not in host.written


def test_runs_do_not_overlap(tmp_path: Path) -> None:
    """A run that takes longer than its interval does not overlap with another one. Missed ticks are skipped."""
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
    with running(write_app(tmp_path, source)) as host:
        host.await_text("at once 1", times=3)
        assert "at once 2" not in host.written
