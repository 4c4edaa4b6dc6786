"""`python -m npo_pipeline` is the command `npo`."""

from npo_pipeline.cli.main import main

if __name__ == "__main__":
    main()
