"""`python -m xmr_ray` is `xmr-ray`."""

from xmr_ray.cli import main

if __name__ == "__main__":
    main()
