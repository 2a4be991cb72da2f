"""Beginning a fit from the networks of the round before ([method] A2.4)."""

from torch import nn

from xmr_ray.errors import CheckpointError


def start_from(network: nn.Module, previous: nn.Module) -> None:
    """Take over what `previous` has learnt: its parameters. Buffers (statistics, calibration) stay those of `network`.

    Raises:
        CheckpointError: the parameters do not fit.
    """
    try:
        network.load_state_dict({**dict(network.named_buffers()), **dict(previous.named_parameters())})
    except RuntimeError as error:
        raise CheckpointError(
            f"the networks of the round before do not fit this configuration ({error}); keep the networks' settings or set training.warm_start: false"
        ) from error
