"""The published data that can be had by name: where they are, how they are known to be whole, whose they are."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RemoteFile:
    """A file and the places where it can be had.

    Attributes:
        name: in the cache.
        sha256: of its bytes.
        size: in bytes.
        urls: mirrors, in the order in which they are tried.
    """

    name: str
    sha256: str
    size: int
    urls: tuple[str, ...]


@dataclass(frozen=True)
class Source:
    """Published data.

    Attributes:
        name: by which they are loaded.
        folder: in the cache; several names may share one download.
        files: to fetch.
        train: examples in the part for training, with those for validation where the source names some.
        test: examples in the part for testing.
        shape: of one example as stored.
        licence: as its publisher states it.
        reference: whom to cite.
    """

    name: str
    folder: str
    files: tuple[RemoteFile, ...]
    train: int
    test: int
    shape: tuple[int, ...]
    licence: str
    reference: str


# The SHA-256 and sizes of all files are those that TensorFlow Datasets publishes, in its repository
# tensorflow/datasets: tensorflow_datasets/url_checksums/{fashion_mnist,kmnist,emnist,omniglot,binarized_mnist}.txt. An
# address without a comment is the one there. Whatever a mirror serves must have the checksum.
_MNIST_LIKE = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")


def _mnist_like(hashes: tuple[tuple[str, int], ...], mirrors: tuple[str, ...]) -> tuple[RemoteFile, ...]:
    names = [f"{name}-ubyte.gz" for name in _MNIST_LIKE]
    return tuple(
        RemoteFile(name, sha256, size, tuple(mirror + name for mirror in mirrors))
        for name, (sha256, size) in zip(names, hashes, strict=True)
    )


_FASHION = _mnist_like(
    (
        ("3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84", 26421880),
        ("a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845", 29515),
        ("346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073", 4422102),
        ("67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5", 5148),
    ),
    (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",  # keras.datasets.fashion_mnist
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",  # the authors'
    ),
)
_KMNIST = _mnist_like(
    (
        ("51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4", 18165135),
        ("e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17", 29497),
        ("edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5", 3041136),
        ("20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c", 5120),
    ),
    ("http://codh.rois.ac.jp/kmnist/dataset/kmnist/", "https://codh.rois.ac.jp/kmnist/dataset/kmnist/"),
)
_EMNIST = (
    RemoteFile(
        "gzip.zip",
        "fb9bb67e33772a9cc0b895e4ecf36d2cf35be8b709693c3564cea2a019fcda8e",
        561753746,
        (
            "https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip",  # later torchvision/datasets/mnist.py
            "https://www.itl.nist.gov/iaui/vip/cs_links/EMNIST/gzip.zip",
        ),
    ),
)
_OMNIGLOT = tuple(
    RemoteFile(
        f"{name}.zip",
        sha256,
        size,
        (
            f"https://github.com/brendenlake/omniglot/raw/master/python/{name}.zip",
            f"https://raw.githubusercontent.com/brendenlake/omniglot/master/python/{name}.zip",  # torchvision
        ),
    )
    for name, sha256, size in (
        ("images_background", "ad41ab679c8b5d90b271ef46be6987cc81211774a695c29dcc5367b2b26ee640", 9464212),
        ("images_evaluation", "1f61a8f3366785b057fc117d9228e78a16e3d976c8953b2a10fcc74cf0609cee", 6462886),
    )
)
_STATIC = tuple(
    RemoteFile(
        f"binarized_mnist_{part}.amat",
        sha256,
        size,
        (
            f"http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/binarized_mnist_{part}.amat",
            f"https://storage.googleapis.com/tensorflow/tf-keras-datasets/binarized_mnist_{part}.amat",
        ),
    )
    for part, sha256, size in (
        ("train", "ad693b29f94c14277b095f5238ddefbbdaaae0939789dd2f4f0205278cee3e4d", 78400000),
        ("valid", "1de3d397c40fe8eeb33dafd4099a1f665ec01e96d9be234aaeeac8a34930e2e2", 15680000),
        ("test", "e6687bfea3f820c174f33b7865140b2a2dd2930ef786f35d45795fc193b5ab2c", 15680000),
    )
)
EMNIST_PARTS = {
    "balanced": (112_800, 18_800),
    "byclass": (697_932, 116_323),
    "bymerge": (697_932, 116_323),
    "digits": (240_000, 40_000),
    "letters": (124_800, 20_800),
    "mnist": (60_000, 10_000),
}
_COHEN = "Cohen, Afshar, Tapson, van Schaik, 2017, arXiv 1702.05373"


def _emnist(name: str, part: str) -> Source:
    licence = "none stated; from NIST Special Database 19"
    return Source(name, "emnist", _EMNIST, *EMNIST_PARTS[part], (28, 28), licence, _COHEN)


SOURCES = {
    source.name: source
    for source in (
        Source(
            name="mnist",
            folder="",
            files=(),
            train=60_000,
            test=10_000,
            shape=(28, 28),
            licence="CC BY-SA 3.0",
            reference="LeCun, Cortes, Burges, 1998; inside this package",
        ),
        Source(
            name="fashion-mnist",
            folder="fashion-mnist",
            files=_FASHION,
            train=60_000,
            test=10_000,
            shape=(28, 28),
            licence="MIT",
            reference="Xiao, Rasul, Vollgraf, 2017, arXiv 1708.07747",
        ),
        Source(
            name="kmnist",
            folder="kmnist",
            files=_KMNIST,
            train=60_000,
            test=10_000,
            shape=(28, 28),
            licence="CC BY-SA 4.0",
            reference="Clanuwat et al., 2018, arXiv 1812.01718",
        ),
        _emnist("emnist", "balanced"),
        *(_emnist(f"emnist-{part}", part) for part in EMNIST_PARTS),
        Source(
            name="omniglot",
            folder="omniglot",
            files=_OMNIGLOT,
            train=19_280,
            test=13_180,
            shape=(28, 28),
            licence="MIT",
            reference="Lake, Salakhutdinov, Tenenbaum, Science 350, 2015",
        ),
        Source(
            name="static-mnist",
            folder="static-mnist",
            files=_STATIC,
            train=60_000,
            test=10_000,
            shape=(784,),
            licence="CC BY-SA 3.0, as MNIST",
            reference="Salakhutdinov, Murray, ICML 2008; Larochelle, Murray, AISTATS 2011",
        ),
    )
}
