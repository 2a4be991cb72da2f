"""One of two processes of a test: joins the group, runs the test file's function, saves what it returns."""

import importlib.util
import sys
from pathlib import Path

import torch
from torch import distributed


def main(folder, rank):
    call = torch.load(folder / "call.pt", weights_only=False)
    spec = importlib.util.spec_from_file_location("called", call["file"])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", store=distributed.FileStore(str(folder / "group"), 2), rank=rank, world_size=2)
    torch.save(getattr(module, call["name"])(*call["arguments"]), folder / f"result-{rank}.pt")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
