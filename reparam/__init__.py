"""reparam: deep latent-variable models on `torch.distributions`. The model is exact."""

import lazy_loader

# The names stand in __init__.pyi, once for type checkers and for this: importing reparam must not import torch, which
# takes a second that `reparam --help` does not have.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
