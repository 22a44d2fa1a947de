"""What files claim of their sizes is compared with what there is, before memory is asked for it."""

import gzip
import zipfile

import numpy as np
import pytest
from files import GREY, idx, save_image
from PIL import Image

from reparam.data import claims, load_data
from reparam.data.images import SUFFIXES, decode


def npz(path, header, content=b""):
    """An archive with one array of this header and these bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("train.npy", "w") as member:
        np.lib.format.write_array_header_1_0(member, {"fortran_order": False, **header})
        member.write(content)
    return path


@pytest.mark.parametrize("size", [80_000_000_000_000, 51])
def test_an_archive_holds_what_it_claims(tmp_path, size):
    path = npz(tmp_path / "x.npz", {"shape": (size,), "descr": "<f8"}, bytes(400))
    assert path.stat().st_size < 400
    with pytest.raises(
        ValueError, match=rf"x\.npz is damaged: its array train claims the shape \({size},\) of float64"
    ):
        load_data(path)


def test_an_archive_that_claims_to_inflate_more_than_deflate_can_is_refused(tmp_path):
    """The directory of the archive says how long each member is, and may say anything."""
    path = npz(tmp_path / "x.npz", {"shape": (10**9,), "descr": "|u1"}, bytes(400))
    content, size = path.read_bytes(), (528).to_bytes(4, "little")
    assert content.count(size) == 2  # of the member, and of the directory
    path.write_bytes(content.replace(size, (10**9 + 128).to_bytes(4, "little")))
    with pytest.raises(ValueError, match=r"claims the shape \(1000000000,\) of uint8, which is 953.7 MiB, and at most"):
        load_data(path)


def test_a_header_is_read_up_to_64_kib(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train.npy", b"\x93NUMPY\x02\x00" + (2**30).to_bytes(4, "little") + b" " * 2**20)
    with pytest.raises(ValueError, match=r"x\.npz cannot be read as an archive of arrays \(ValueError\)"):
        load_data(tmp_path / "x.npz")
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY\x01\x00" + (9000).to_bytes(2, "little") + b"-" * 9000)
    with pytest.raises(ValueError, match=r"x\.npy is damaged or no \.npy file: its header cannot be read"):
        load_data(tmp_path / "x.npy")
    with (tmp_path / "y.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"fortran_order": False, "shape": (-3, 2), "descr": "|u1"})
    with pytest.raises(ValueError, match=r"y\.npy is damaged or no \.npy file: its shape is \(-3, 2\)"):
        load_data(tmp_path / "y.npy")


def test_what_an_archive_holds_besides_arrays_is_left_alone(tmp_path):
    np.savez(tmp_path / "x.npz", train=GREY)
    with zipfile.ZipFile(tmp_path / "x.npz", "a") as archive:
        archive.writestr("readme.txt", "hello")
    assert len(load_data(tmp_path / "x.npz").train) == 45


def test_a_gzip_stream_is_unpacked_as_far_as_its_header_says(tmp_path, monkeypatch):
    header = b"\x00\x00\x08\x02"
    claimed = header + b"\x7f\xff\xff\xff" * 2 + bytes(2000)
    (tmp_path / "x.gz").write_bytes(gzip.compress(claimed))
    with pytest.raises(ValueError, match=r"x\.gz is damaged: its \d+ bytes claim an array of shape .*4.0 EiB|TiB"):
        load_data(tmp_path / "x.gz")
    read = []
    real = gzip.GzipFile.read
    monkeypatch.setattr(gzip.GzipFile, "read", lambda file, size=-1: read.append(size) or real(file, size))
    (tmp_path / "y.gz").write_bytes(gzip.compress(idx(GREY) + bytes(10**6)))
    with pytest.raises(ValueError, match=r"y\.gz is damaged: it holds more than 600 bytes for an array of shape"):
        load_data(tmp_path / "y.gz")
    assert sum(read) < 2000
    assert min(read) >= 0


@pytest.mark.parametrize("name", ["x.npz", "x.gz", "x.amat", "images"])
def test_what_memory_does_not_hold_is_refused_before_it_is_asked_for(tmp_path, name, monkeypatch):
    """Linux promises memory that it does not have, and kills who takes it."""
    bytes_ = np.full((50, 4, 30), 7, np.uint8)
    np.savez(tmp_path / "x.npz", train=bytes_, test=bytes_)
    (tmp_path / "x.gz").write_bytes(gzip.compress(idx(bytes_)))
    (tmp_path / "x.amat").write_text("0 1\n" * 2000)
    for number in range(8):
        save_image(tmp_path / "images" / f"{number}.png", np.zeros((28, 28), np.uint8))
    monkeypatch.setattr(claims, "memory", lambda: 6000)
    with pytest.raises(ValueError, match=rf"{name} (unpacks to|has) [\d,]+ bytes, and this machine has 6,000 bytes of"):
        load_data(tmp_path / name)
    monkeypatch.setattr(claims, "memory", lambda: None)
    load_data(tmp_path / name, "static" if name == "x.amat" else "grey")


def test_the_memory_of_this_machine_is_known():
    assert claims.memory() is None or 2**28 < claims.memory() < 2**50


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
def test_an_image_is_only_read_as_a_format_that_is_one_of_images(tmp_path, name, monkeypatch):
    """Pillow hands PostScript to Ghostscript, which would be started for whatever stands in a file named .png."""

    def started(*arguments, **options):
        raise AssertionError("Ghostscript was started")

    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", started)
    path = tmp_path / "x" / name
    path.parent.mkdir()
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\nshowpage\n")
    Image.open(path).close()  # Pillow alone takes it
    for colour in ("grey", "rgb"):
        with pytest.raises(ValueError, match="is a broken image, or none"):
            load_data(path.parent, colour=colour)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_kind_of_image_is_read_whatever_its_name(tmp_path, suffix):
    Image.fromarray(np.full((5, 4), 200, np.uint8)).convert("RGB").save(tmp_path / f"x{suffix}")
    (tmp_path / f"x{suffix}").rename(tmp_path / "x.png")
    pixels = decode(tmp_path / "x.png", "x", None, "rgb")
    assert pixels.shape == (3, 5, 4)
    assert abs(int(pixels.mean()) - 200) < 3


@pytest.mark.parametrize("limit", [15, 30])  # an error of Pillow's, and a mere warning
def test_an_image_of_more_pixels_than_pillow_takes_is_refused_undecoded(tmp_path, monkeypatch, limit):
    save_image(tmp_path / "x" / "1.png", np.zeros((8, 5), np.uint8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(ValueError, match=rf"1\.png has more than {limit} pixels, .*MAX_IMAGE_PIXELS"):
        load_data(tmp_path / "x")
