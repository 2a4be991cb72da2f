import inspect

from xmr_ray.cluster.engine import RayEngine
from xmr_ray.loop.engine import Engine


def test_the_engine_on_ray_offers_what_the_loop_asks_for():
    wanted = {name: member for name, member in vars(Engine).items() if not name.startswith("_") and callable(member)}
    assert set(wanted) == {
        "choose_by_features",
        "train",
        "score_pool",
        "fit_cells",
        "find_neighbours",
        "reduce_scores",
        "describe_purchase",
        "evaluate",
    }
    for name, member in wanted.items():
        assert list(inspect.signature(getattr(RayEngine, name)).parameters) == list(inspect.signature(member).parameters)
