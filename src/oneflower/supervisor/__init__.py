"""The supervisor that keeps a training alive on a SuperLink."""
