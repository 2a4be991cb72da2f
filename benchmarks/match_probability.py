"""Match probability of a pair in closed form, beside K = 7 draws of each Gaussian.

python benchmarks/match_probability.py [--rows 2048] [--widths 256 1024] [--repeats 9] [--total-variance 0.1]

One thread, float32. "materialised" is the usual form: draws of both sides, then a (rows, 7, 7, width) tensor of differences; "inner
products" multiplies the draws of both sides in batches. Draws are part of the time, as they are of the work. Draws are taken for the
scoring batch of 1,024 pairs at once, and again in blocks of the size that is fastest for them here. Candidates alternate within each
repeat, and medians are told. Errors are against 2,000 draws (mirrored in pairs, a stream of their own) on the first 512 rows; the last
lines tell how far two such references lie apart, and the error of the closed form against 20,000 draws on the first 128 rows.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from xmr_ray.networks.match import PairGaussians, match_probability

NUM_DRAWS, REFERENCE_DRAWS, REFERENCE_ROWS = 7, 2000, 512
MANY_DRAWS, MANY_ROWS = 20_000, 128
SHORTEST = 0.05
SLOPE, OFFSET = 10.0, 8.0
BATCH, BLOCKS = 1024, (16, 64, 256)
Candidate = Callable[[PairGaussians], torch.Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2048)
    parser.add_argument("--widths", type=int, nargs="+", default=[256, 1024])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--total-variance", type=float, default=0.1)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for width in arguments.widths:
        measure(make_pairs(arguments.rows, width, arguments.total_variance), repeats=arguments.repeats)


def make_pairs(num_rows: int, width: int, total: float) -> PairGaussians:
    """Unit means from nearly alike to unrelated, and total variances spread log-normally around `total`."""
    rng = torch.Generator().manual_seed(0)
    image = torch.nn.functional.normalize(torch.randn(num_rows, width, generator=rng), dim=1)
    noise = torch.rand(num_rows, 1, generator=rng) * 1.5 * width**-0.5 * torch.randn(num_rows, width, generator=rng)
    text = torch.nn.functional.normalize(image + noise, dim=1)
    variances = total / width * torch.exp(0.5 * torch.randn(2, num_rows, width, generator=rng) + 0.5 * torch.randn(2, num_rows, 1, generator=rng))
    return PairGaussians(image, variances[0], text, variances[1])


def closed(pair: PairGaussians) -> torch.Tensor:
    return match_probability(pair, slope=SLOPE, offset=OFFSET)


def draws_of(pair: PairGaussians) -> tuple[torch.Tensor, torch.Tensor]:
    noise = torch.randn(2, len(pair[0]), NUM_DRAWS, pair[0].shape[1])
    return tuple(mean[:, None] + variance.sqrt()[:, None] * part for mean, variance, part in zip(pair[::2], pair[1::2], noise, strict=True))


def materialised(pair: PairGaussians) -> torch.Tensor:
    image, text = draws_of(pair)
    squared = (image[:, :, None] - text[:, None, :]).square().sum(dim=3)
    return torch.sigmoid(OFFSET - SLOPE * squared).mean(dim=(1, 2))


def products(pair: PairGaussians) -> torch.Tensor:
    image, text = draws_of(pair)
    squared = image.square().sum(dim=2)[:, :, None] + text.square().sum(dim=2)[:, None, :] - 2 * torch.bmm(image, text.transpose(1, 2))
    return torch.sigmoid(OFFSET - SLOPE * squared).mean(dim=(1, 2))


def in_blocks(candidate: Candidate, block: int) -> Candidate:
    def run(pair: PairGaussians) -> torch.Tensor:
        starts = range(0, len(pair[0]), block)
        return torch.cat([candidate(PairGaussians(*(values[start : start + block] for values in pair))) for start in starts])

    return run


def reference(pair: PairGaussians, seed: int, num_draws: int = REFERENCE_DRAWS) -> torch.Tensor:
    """The mean over draws, in double precision where it matters: the sum."""
    rng, total = torch.Generator().manual_seed(seed), torch.zeros(len(pair[0]), dtype=torch.float64)
    for _ in range(num_draws // 2):
        image, text = (variance.sqrt() * torch.randn(variance.shape, generator=rng) for variance in pair[1::2])
        for sign in (1.0, -1.0):
            squared = (pair[0] - pair[2] + sign * (image - text)).square().sum(dim=1)
            total += torch.sigmoid(OFFSET - SLOPE * squared)
    return total / num_draws


def seconds_of(candidate: Candidate, pair: PairGaussians) -> float:
    """Of one pass; passes go on for 50 ms, so that an interruption does not decide."""
    passes, start = 0, time.perf_counter()
    while passes == 0 or time.perf_counter() - start < SHORTEST:
        candidate(pair)
        passes += 1
    return (time.perf_counter() - start) / passes


def measure(pair: PairGaussians, *, repeats: int) -> None:
    chosen: dict[str, tuple[int, Candidate]] = {"closed form": (BATCH, in_blocks(closed, BATCH))}
    with torch.inference_mode():
        for name, candidate in (("7 draws, materialised", materialised), ("7 draws, inner products", products)):
            chosen[name] = BATCH, in_blocks(candidate, BATCH)
            blocks = {block: in_blocks(candidate, block) for block in BLOCKS}
            best = min(blocks, key=lambda block: min(seconds_of(blocks[block], pair) for _ in range(3)))
            chosen[f"{name}, small blocks"] = best, blocks[best]
        seconds: dict[str, list[float]] = {name: [] for name in chosen}
        for _ in range(repeats):
            for name, (_, candidate) in chosen.items():
                seconds[name].append(seconds_of(candidate, pair))
        head = PairGaussians(*(values[:REFERENCE_ROWS] for values in pair))
        expected, again = reference(head, 1), reference(head, 2)
        few = PairGaussians(*(values[:MANY_ROWS] for values in pair))
        exact = rmse(closed(few), reference(few, 3, MANY_DRAWS))
        errors = {name: rmse(candidate(head), expected) for name, (_, candidate) in chosen.items()}
    medians = {name: statistics.median(times) / len(pair[0]) * 1e6 for name, times in seconds.items()}
    print(f"\nwidth {pair[0].shape[1]}, {len(pair[0])} pairs, medians of {repeats}; probabilities from {expected.min():.3f} to {expected.max():.3f}")
    print(f"{'':38s}{'block':>7s}{'us/pair':>10s}{'spread':>18s}{'ratio':>8s}{'RMSE':>10s}")
    for name, median in medians.items():
        spread = f"{min(seconds[name]) / len(pair[0]) * 1e6:.2f} to {max(seconds[name]) / len(pair[0]) * 1e6:.2f}"
        print(f"{name:38s}{chosen[name][0]:7d}{median:10.2f}{spread:>18s}{median / medians['closed form']:8.1f}{errors[name]:10.5f}")
    print(f"{'2,000 draws, twice':38s}{rmse(again, expected):53.5f}")
    print(f"{'closed form against 20,000 draws':38s}{exact:53.5f}")


def rmse(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.double() - expected).square().mean().sqrt())


if __name__ == "__main__":
    main()
