"""A challenger beside the champion, on real servers: chosen, counted, gone again, and nothing of it comes out."""

from collections.abc import Callable, Sequence
from pathlib import Path

from stream_ae.status import ShadowStatus
from tests.end_to_end.feeder import Feeder, audited
from tests.end_to_end.world import PipelineOnServers, eventually

Make = Callable[..., PipelineOnServers]


def test_a_challenger_beside_the_champion_is_counted_and_nothing_of_it_comes_out(
    make_pipeline: Make, model_folders: Sequence[Path]
) -> None:
    pipeline = make_pipeline("shadow")
    first = pipeline.publish(model_folders[0])
    second = pipeline.store.register(model_folders[1], {}, {})

    def shadow() -> ShadowStatus | None:
        return next((worker.shadow for worker in pipeline.status()), None)

    def has_answered(windows: int) -> bool:
        found = shadow()
        return found is not None and found.windows >= windows

    worker = pipeline.start_worker()
    pipeline.await_running()
    with Feeder(pipeline) as feeder:
        assert "scores beside the champion" in pipeline.command("models", "shadow", second.version)
        eventually(lambda: has_answered(200), "the challenger answers what the champion does")
        assert f"shadow {second.name}/{second.version} flags " in pipeline.command("status")
        found = shadow()
        assert found is not None
        assert found.model == second.identity
        # Two seeds of one training on the same signals.
        assert found.agreed > 0.9 * found.windows
        assert found.busy_s > 0
        pipeline.command("models", "shadow", "--off")
        eventually(lambda: shadow() is None, "the challenger is gone")
    pipeline.await_traces(feeder.sent)
    worker.stop()
    assert audited(pipeline).clean
    made_by = {headers["stream-ae-model"].decode() for headers in pipeline.cleaned.headers}
    assert made_by == {f"{first.name}/{first.version}"}
