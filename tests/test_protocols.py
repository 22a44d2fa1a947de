"""What stored numbers mean: every type under every protocol from every kind of source, each with the right answer."""

import dataclasses

import numpy as np
import pytest
import torch
from files import idx, save_image
from torch.utils.data import DataLoader

import reparam as rp
from reparam.batches import batches_for
from reparam.data import import_, info, load_data, readers
from reparam.data.protocols import PROTOCOLS

ROWS, SHAPE = 10, (4, 3)
BITS = np.random.default_rng(1).integers(0, 2, (ROWS, *SHAPE))
COUNTS = np.random.default_rng(2).integers(0, 101, (ROWS, *SHAPE))
BITS[-1, 0, 0], COUNTS[-1, 0, 0] = 1, 100  # so that shares of 100 have a largest that is exactly 1
MEANS = ("grey", "dynamic", "threshold")
WHOLE = ("int8", "int16", "int32", "int64", "uint16", "uint32", "uint64")
REAL = ("float16", "float32", "float64")


def stored(dtype, kind):
    """Bits, or counts; counts of hundredths as floating-point numbers."""
    if kind == "bits":
        return BITS.astype(dtype)
    return (COUNTS / 100).astype(dtype) if dtype in REAL else COUNTS.astype(dtype)


def answer(dtype, protocol, kind, mapped=False):
    """The x that is right, an error, or None where x is random bits."""
    values = stored(dtype, kind).astype(np.float64)
    means = values / 255 if dtype == "uint8" else values
    if dtype in ("bool", *WHOLE) and protocol in MEANS:
        return TypeError
    if protocol == "static":
        refused = kind != "bits" or (dtype == "uint8" and mapped)
        return ValueError if refused else values
    if dtype == "uint8" and kind == "bits":
        return ValueError
    if protocol == "dynamic":
        return means if kind == "bits" else None
    return (means > 0.5).astype(float) if protocol == "threshold" else means


def check(make, right, about):
    if isinstance(right, type):
        with pytest.raises(right) as caught:
            make()
        assert "\n" not in str(caught.value), about
        return
    x = make()
    assert x.dtype == torch.float32, about
    if right is None:
        assert set(x.unique().tolist()) <= {0.0, 1.0}, about
    else:
        torch.testing.assert_close(x.double().flatten(1), torch.tensor(right).flatten(1)[: len(x)], atol=1e-3, rtol=0)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("REPARAM_DATA", str(tmp_path / "cache"))


@pytest.mark.parametrize("kind", ["bits", "counts"])
@pytest.mark.parametrize("dtype", ["bool", "uint8", *WHOLE, *REAL])
def test_every_type_under_every_protocol_from_every_file(tmp_path, cache, monkeypatch, dtype, kind):
    if (dtype, kind) == ("bool", "counts"):
        return
    values = stored(dtype, kind)
    np.save(tmp_path / "x.npy", values)
    np.savez(tmp_path / "x.npz", values)
    (tmp_path / "x").mkdir()
    np.save(tmp_path / "x" / "train.npy", values)
    sources = {"x.npy": False, "x.npz": False, "x": False, "mapped": True}
    if dtype == "uint8":
        (tmp_path / "x-idx3-ubyte").write_bytes(idx(values))
        sources["x-idx3-ubyte"] = False
    for source, mapped in sources.items():
        monkeypatch.setattr(readers, "MAPPED_ABOVE", 0 if mapped else 2**28)
        path = tmp_path / ("x.npy" if mapped else source)
        for protocol in PROTOCOLS:
            right = answer(dtype, protocol, kind, mapped)
            check(lambda p=protocol, at=path: load_data(at, p).train[:9], right, (source, protocol))
        takes = {each for each in PROTOCOLS if not isinstance(answer(dtype, each, kind, mapped), type)}
        if takes:
            assert set(info(path).protocols) == (takes if kind == "counts" else {"static"}), source


@pytest.mark.parametrize("kind", ["bits", "counts"])
@pytest.mark.parametrize("dtype", ["bool", "uint8", *WHOLE, *REAL])
def test_every_type_in_memory(dtype, kind):
    if (dtype, kind) == ("bool", "counts"):
        return
    values, model = torch.from_numpy(stored(dtype, kind)).flatten(1), real_model()
    for protocol in PROTOCOLS:
        check(lambda p=protocol: rp.Data(values, p)[:ROWS], answer(dtype, protocol, kind), protocol)
    right = answer(dtype, "as given", kind)
    for source in (values, values.numpy(), DataLoader(values, batch_size=4), DataLoader(values.numpy(), batch_size=4)):
        check(lambda given=source: torch.cat(list(batches_for(model, given, 4))), right, type(source))


def real_model():
    torch.manual_seed(0)
    return rp.VAE(rp.Gaussian(2), rp.Gaussian(12), rp.mlp(12, [], 4), rp.mlp(2, [], 24))


@pytest.mark.parametrize("kind", ["bits", "counts"])
def test_images_of_a_folder_are_bytes(tmp_path, kind):
    for number, image in enumerate(stored("uint8", kind)):
        save_image(tmp_path / f"{number}.png", image)
    for protocol in PROTOCOLS:
        right = answer("uint8", protocol, kind)
        make = lambda p=protocol: load_data(tmp_path, p, test=1).train[:9]  # noqa: E731
        if isinstance(right, type):
            check(make, right, protocol)
        else:
            assert make().sort(0).values.shape == (9, 12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn])
def test_types_that_only_torch_has(dtype):
    x = torch.tensor([[0.0, 0.5], [1.0, 0.25]]).to(dtype)
    assert rp.Data(x, "grey")[:2].tolist() == [[0.0, 0.5], [1.0, 0.25]]
    with pytest.raises(ValueError, match=r"data hold values from 0 to 2; under the protocol 'grey' .*takes 0 to 1"):
        rp.Data(x * 2 if dtype == torch.bfloat16 else (x.float() * 2).to(dtype), "grey")


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_grey_values_with_one_white_pixel_are_grey(tmp_path, cache, dtype):
    """x / 255 of an image with a white pixel: the largest is 1.0, and that does not make bits of it."""
    white = (np.full((20, 4), 51, np.uint8) / 255).astype(dtype)
    white[3, 2] = 1.0
    np.save(tmp_path / "x.npy", white)
    np.savez(tmp_path / "x.npz", white)
    for path in (tmp_path / "x.npy", tmp_path / "x.npz"):
        assert info(path).protocols == ("grey", "dynamic", "threshold", "as given")
        for protocol in ("grey", "as given"):
            assert load_data(path, protocol).train[3].tolist() == pytest.approx([0.2, 0.2, 1.0, 0.2], abs=1e-3)
        assert load_data(path, "threshold").train[3].tolist() == [0, 0, 1, 0]
    assert import_(tmp_path / "x.npy", "mine").largest == 1.0


def test_counts_are_integers_and_stay_integers_until_a_batch_is_taken(tmp_path):
    counts = np.random.default_rng(0).poisson(40.0, (60, 5)).astype(np.int16)
    np.save(tmp_path / "x.npy", counts)
    data = load_data(tmp_path / "x.npy", "as given")
    assert data.train.values.dtype == torch.int16
    assert torch.equal(data.train[:54], torch.tensor(counts[:54]).float())
    torch.manual_seed(0)
    model = rp.VAE(rp.Gaussian(2), rp.Poisson(5), rp.mlp(5, [], 4), rp.mlp(2, [], 5))
    for given in (data.train, counts, torch.tensor(counts)):
        rp.fit(model, rp.Pathwise(), given, epochs=1)
    assert rp.data.checksum(data.train) == rp.data.checksum(rp.Data(torch.tensor(counts[:54])))


def test_what_a_protocol_refuses_is_one_line_with_the_file_and_a_remedy(tmp_path):
    grey, bits = COUNTS.reshape(ROWS, -1), BITS.reshape(ROWS, -1)
    cases = [
        (grey.astype(np.int64), "grey", TypeError, r'x.npy holds int64; .*Convert pixels by .astype\("uint8"\)'),
        (bits > 0, "dynamic", TypeError, r'x.npy holds bool; .*For bits choose the protocol "static"'),
        (bits.astype(np.uint8), "grey", ValueError, r"x.npy holds 0 and 1 as uint8; .*almost black.*Pass values.float"),
        (
            grey / 50,
            "dynamic",
            ValueError,
            r"x.npy holds values from 0.06 to 2, outside \[0, 1\]; bits are drawn.*Rescale",
        ),
        (
            grey / 50,
            "threshold",
            ValueError,
            r"x.npy holds values from 0.06 to 2; .* Rescale the values, or choose \"as",
        ),
        (np.where(grey == 100, np.nan, 0.0), "as given", ValueError, r"x.npy holds nan at index \[\d, \d+\].*Remove"),
        (grey * 1j, "as given", TypeError, r"x.npy holds complex128; it must hold numbers"),
    ]
    for values, protocol, error, message in cases:
        np.save(tmp_path / "x.npy", values)
        with pytest.raises(error, match=message) as caught:
            load_data(tmp_path / "x.npy", protocol)
        assert "\n" not in str(caught.value)
    with pytest.raises(TypeError, match=r"data hold complex64; x is made of real numbers.*Convert"):
        rp.Data(torch.zeros(3, 2, dtype=torch.complex64))
    with pytest.raises(ValueError, match=r"data hold 0.5; bits are 0 and 1"):
        rp.Data(torch.full((3, 2), 0.5), "static")


def test_bits_as_bytes_are_refused_from_a_loader_too_once_all_was_seen():
    bits = torch.tensor(BITS, dtype=torch.uint8).flatten(1)
    with pytest.raises(ValueError, match="uint8 and hold only 0 and 1"):
        rp.evaluate(real_model(), DataLoader(bits, batch_size=4), num_samples=2)
    rp.evaluate(real_model(), DataLoader(bits * 9, batch_size=4), num_samples=2)


def test_data_from_python_under_static_are_bits_of_any_type():
    for dtype in (torch.bool, torch.uint8, torch.int64, torch.float32):
        x = torch.tensor(BITS).flatten(1).to(dtype)
        assert torch.equal(rp.Data(x, "static")[:ROWS], torch.tensor(BITS).flatten(1).float())
    assert dataclasses.replace(rp.Data(x, "static"), dtype=torch.float64)[:1].dtype == torch.float64
