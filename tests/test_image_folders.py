"""Folders of images: every file is read or named, photos stand upright, and labels and names are kept."""

import numpy as np
import pytest
import torch
from files import RANDOM, save_image
from PIL import Image

from reparam.data import checksum, import_, info, load_data
from reparam.data.images import SUFFIXES, scattered


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("REPARAM_DATA", str(tmp_path / "cache"))


def grey(*shape):
    return RANDOM.integers(0, 256, shape, np.uint8)


def folder_of(path, *names, size=(4, 4)):
    for name in names:
        save_image(path / name, grey(*size))
    return path


ORIENTED = np.array([[10, 20, 30], [40, 50, 60]], np.uint8)  # as the camera was held
STORED = {  # by EXIF 2.32, table of the tag Orientation: where the 0th row and the 0th column are
    1: ORIENTED,
    2: ORIENTED[:, ::-1],
    3: ORIENTED[::-1, ::-1],
    4: ORIENTED[::-1],
    5: ORIENTED.T,
    6: np.rot90(ORIENTED, 1),
    7: ORIENTED[::-1, ::-1].T,
    8: np.rot90(ORIENTED, -1),
}


@pytest.mark.parametrize("ending", [".png", ".tif", ".webp"])
@pytest.mark.parametrize("orientation", list(STORED))
def test_photos_stand_upright(tmp_path, orientation, ending):
    exif = Image.Exif()
    exif[0x0112] = orientation
    for number in range(2):
        picture = Image.fromarray(np.ascontiguousarray(STORED[orientation]))
        lossless = {"lossless": True} if ending == ".webp" else {}
        picture.save(tmp_path / f"{number}{ending}", exif=exif.tobytes(), **lossless)
    assert np.array_equal(load_data(tmp_path, shape="image").train.values[0, 0], ORIENTED)


def test_a_photo_of_a_phone_is_turned_before_it_is_resized(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = np.zeros((20, 30), np.uint8)
    lying[:, :15] = 255  # the top of what was photographed is at the left
    for number in range(2):
        Image.fromarray(lying).save(tmp_path / f"{number}.jpg", exif=exif.tobytes(), quality=95)
    pixels = load_data(tmp_path, resize=(6, 4), shape="image").train.values[0, 0].int()
    assert pixels.shape == (6, 4)
    assert pixels[:2].min() > 250
    assert pixels[-2:].max() < 5


def test_exif_data_that_nobody_can_read_turn_nothing(tmp_path):
    for number in range(2):
        Image.fromarray(ORIENTED).save(tmp_path / f"{number}.png", exif=b"Exif\0\0no exif data")
    assert np.array_equal(load_data(tmp_path, shape="image").train.values[0, 0], ORIENTED)


def test_linked_folders_and_files_are_read(tmp_path):
    folder_of(tmp_path / "real", "cat/1.png", "cat/2.png", "dog/1.png")
    folder_of(tmp_path / "x", "own/1.png")
    for name in ("cat", "dog"):
        (tmp_path / "x" / name).symlink_to(tmp_path / "real" / name, target_is_directory=True)
    (tmp_path / "x" / "own" / "2.png").symlink_to(tmp_path / "real" / "dog" / "1.png")
    train = load_data(tmp_path / "x", test=1).train
    everything = info(tmp_path / "x")
    assert everything.train == 5
    assert everything.labels == {"cat": 2, "dog": 1, "own": 2}
    assert set(train.names) < {"cat/1.png", "cat/2.png", "dog/1.png", "own/1.png", "own/2.png"}


def test_links_in_a_circle_end_and_a_folder_is_read_once(tmp_path):
    folder_of(tmp_path / "x", "b/1.png", "b/2.png", "c/1.png")
    (tmp_path / "x" / "b" / "up").symlink_to(tmp_path / "x", target_is_directory=True)
    (tmp_path / "x" / "a").symlink_to(tmp_path / "x" / "b", target_is_directory=True)
    with pytest.warns(UserWarning, match=r"links to folders that are read already are left out: a, b/up\.$"):
        data = load_data(tmp_path / "x", test=1)
    assert sorted((*data.train.names, *data.test.names)) == ["b/1.png", "b/2.png", "c/1.png"]


def test_a_link_to_nowhere_is_missed_by_name(tmp_path):
    folder_of(tmp_path / "x", "1.png", "2.png")
    (tmp_path / "x" / "3.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(FileNotFoundError, match=r"3.png has vanished"):
        load_data(tmp_path / "x")


FORMS = {".jfif": "JPEG", ".jpe": "JPEG", ".jp2": "JPEG2000", ".j2k": "JPEG2000", ".tga": "TGA", ".pnm": "PPM"}
FORMS |= {".pbm": "PPM", ".dib": "DIB", ".avif": "AVIF"}


def test_images_of_every_kind_are_read(tmp_path):
    Image.init()
    for ending, form in FORMS.items():
        if form in Image.SAVE:  # Pillow has AVIF from 11.3 on
            picture = Image.fromarray(grey(16, 16)).convert("1" if ending == ".pbm" else "L")
            picture.save(tmp_path / f"x{ending}", form)
    save_image(tmp_path / "x.PNG", grey(16, 16))
    found = info(tmp_path)
    assert found.train == len(list(tmp_path.iterdir())) - (tmp_path / "cache").exists()
    assert found.notes == ()
    assert set(FORMS) <= set(SUFFIXES)


def test_every_file_is_read_or_counted(tmp_path):
    folder_of(tmp_path, "a.png", "b.png", ".hidden/c.png")
    for name in ("one.txt", "two.txt", "about.md", "LICENSE", ".DS_Store"):
        (tmp_path / name).write_text("text")
    notes = info(tmp_path).notes
    assert notes[0].endswith("files that are no images are left out: 2 .txt, 1 without an ending, 1 .md.")
    assert notes[1].endswith("hidden files and folders are left out: 2.")
    assert load_data(tmp_path).notes == notes


def test_images_that_are_left_out_are_a_warning(tmp_path):
    folder_of(tmp_path / "x", "a.png", "b.png")
    (tmp_path / "x" / "c.heic").write_bytes(b"a photo")
    with pytest.warns(UserWarning, match=r"images of a kind that is not read, .* are left out: 1 .heic\.$"):
        load_data(tmp_path / "x")
    folder_of(tmp_path / "y", "train/1.png", "val/1.png", "test/1.png", "extra/1.png", "loose.png")
    with pytest.warns(
        UserWarning, match=r"beside the folders train, val, test are left out: extra \(1\), loose.png \(1\)"
    ):
        load_data(tmp_path / "y")


def test_an_opaque_alpha_channel_is_dropped_and_a_transparent_one_refused(tmp_path):
    color = grey(4, 4, 3)
    opaque, clear = (np.dstack([color, np.full((4, 4), alpha, np.uint8)]) for alpha in (255, 254))
    for number in range(2):
        save_image(tmp_path / "rgba" / f"{number}.png", opaque)
        save_image(tmp_path / "la" / f"{number}.png", color[..., 0], "LA")
        save_image(tmp_path / "equal" / f"{number}.png", np.dstack([color[..., 0]] * 3 + [opaque[..., 3]]))
        save_image(tmp_path / "palette" / f"{number}.png", color[..., 0], "P")
        save_image(tmp_path / "clear" / f"{number}.png", clear)
        Image.fromarray(color).save(tmp_path / f"key{number}.png", transparency=(1, 2, 3))
    assert np.array_equal(
        load_data(tmp_path / "rgba", colour="rgb", shape="image").train.values[0], color.transpose(2, 0, 1)
    )
    for name in ("la", "equal", "palette"):  # three equal channels are grey: matplotlib saves grey images so
        assert np.array_equal(load_data(tmp_path / name, shape="image").train.values[0, 0], color[..., 0])
    for name in ("clear", "rgba"):
        colour = "rgb" if name == "clear" else "grey"
        message = "has transparency; .*background" if name == "clear" else 'is in colour; .*colour="rgb" .--colour rgb'
        with pytest.raises(ValueError, match=message) as caught:
            load_data(tmp_path / name, colour=colour)
        assert "\n" not in str(caught.value)


def test_a_transparent_color_that_no_pixel_has_is_opaque(tmp_path):
    color = np.full((4, 4, 3), 200, np.uint8)
    for number, key in enumerate([(1, 2, 3), (1, 2, 3)]):
        Image.fromarray(color).save(tmp_path / f"{number}.png", transparency=key)
    assert load_data(tmp_path, colour="rgb").train.values.unique().tolist() == [200]
    Image.fromarray(color).save(tmp_path / "2.png", transparency=(200, 200, 200))
    with pytest.raises(ValueError, match=r"2.png has transparency"):
        load_data(tmp_path, colour="rgb")


def test_several_frames_are_not_silently_one(tmp_path):
    frames = [Image.fromarray(grey(4, 4)) for _ in range(3)]
    frames[0].save(tmp_path / "x.gif", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "y.gif")
    with pytest.raises(ValueError, match=r"x.gif holds 3 frames; an example is one image"):
        load_data(tmp_path)


@pytest.mark.parametrize("name", ["val", "valid", "validation", "dev", "Validation"])
def test_a_folder_for_validation_is_the_validation_part(tmp_path, name):
    for part, number in (("train", 6), (name, 3), ("test", 2)):
        folder_of(tmp_path / part, *(f"{'ab'[i % 2]}/{i}.png" for i in range(number)))
    data = load_data(tmp_path)
    assert [len(part) for part in data.parts().values()] == [6, 3, 2]
    assert sorted(data.validation.names) == ["a/0.png", "a/2.png", "b/1.png"]
    assert (info(tmp_path).train, info(tmp_path).validation, info(tmp_path).test) == (6, 3, 2)
    joined = load_data(tmp_path, validation=0)
    assert [len(part) for part in joined.parts().values()] == [9, 2]
    assert joined.train.names == data.train.names + data.validation.names
    assert checksum(load_data(tmp_path, validation=3)) == checksum(data)
    assert load_data(tmp_path, "dynamic").validation.protocol == "static"


def test_train_and_val_without_test_give_a_test_of_the_last_of_train(tmp_path):
    for part, number in (("train", 20), ("val", 3)):
        folder_of(tmp_path / part, *(f"{i}.png" for i in range(number)))
    data = load_data(tmp_path)
    assert [len(part) for part in data.parts().values()] == [18, 3, 2]
    assert data.test.names == tuple(scattered(f"{i}.png" for i in range(20))[-2:])


def test_an_empty_folder_for_a_part_is_a_warning(tmp_path):
    folder_of(tmp_path, *(f"train/{i}.png" for i in range(10)), "test/1.png")
    (tmp_path / "val").mkdir()
    with pytest.warns(UserWarning, match=r"val holds no images, and is left out\.$"):
        assert [len(part) for part in load_data(tmp_path).parts().values()] == [10, 1]
    folder_of(tmp_path / "x", "test/1.png")
    (tmp_path / "x" / "train").mkdir()
    with pytest.raises(ValueError, match=r"train holds no images\. Expected"):
        load_data(tmp_path / "x")


def test_two_folders_for_one_part_are_refused(tmp_path):
    folder_of(tmp_path, "train/1.png", "val/1.png", "dev/1.png")
    with pytest.raises(ValueError, match=r"dev and val, which may both be the validation part. Rename or remove one"):
        load_data(tmp_path)


def test_class_folders_are_labels_over_all_parts_together(tmp_path):
    folder_of(tmp_path, *(f"train/good/{i}.png" for i in range(3)), "test/good/1.png", "test/broken/1.png")
    data = load_data(tmp_path)
    assert data.train.classes == data.test.classes == ("broken", "good")
    assert data.train.labels.tolist() == [1, 1, 1]
    assert dict(zip(data.test.names, data.test.labels.tolist(), strict=True)) == {"good/1.png": 1, "broken/1.png": 0}
    assert data.train.labels.dtype == torch.int64


def test_class_folders_lie_below_what_all_paths_share_and_images_beside_them_have_no_label(tmp_path):
    folder_of(tmp_path / "x", "data/images/cat/deep/1.png", "data/images/dog/1.png", "data/images/2.png")
    data = load_data(tmp_path / "x", test=1)
    label = {
        name: k for part in data.parts().values() for name, k in zip(part.names, part.labels.tolist(), strict=True)
    }
    assert label == {"data/images/cat/deep/1.png": 0, "data/images/dog/1.png": 1, "data/images/2.png": -1}
    assert data.train.classes == ("cat", "dog")
    assert info(tmp_path / "x").labels == {"": 1, "cat": 1, "dog": 1}
    folder_of(tmp_path / "y", "a/1.png", "a/2.png")
    assert load_data(tmp_path / "y").train.labels is None  # one folder says nothing


@pytest.mark.parametrize(
    "table",
    [
        "file,label\n1.png,cat\n2.png,dog\n3.png,cat\n",
        "1.png;cat\n2.png;dog\n3.png;cat\n",
        "id\tage\tclass\n1\t7\tcat\n2\t8\tdog\n3\t9\tcat\n",
        "./x/1.png,cat\nx\\2.png,dog\nx/3.png,cat\n",
    ],
)
def test_labels_stand_in_a_table(tmp_path, table):
    folder = folder_of(tmp_path / "x", "1.png", "2.png", "3.png")
    (tmp_path / "my.csv").write_text(table)
    by_option = load_data(folder, labels=str(tmp_path / "my.csv"), test=1)
    (folder / "labels.csv").write_text(table)
    found = load_data(folder, test=1)
    for data in (by_option, found):
        label = {
            name: k for part in data.parts().values() for name, k in zip(part.names, part.labels.tolist(), strict=True)
        }
        assert label == {"1.png": 0, "2.png": 1, "3.png": 0}
        assert data.train.classes == ("cat", "dog")
    assert found.notes == ()


def test_tables_of_labels_that_do_not_fit(tmp_path):
    folder = folder_of(tmp_path / "x", "1.png", "2.png")
    path = tmp_path / "my.csv"
    for text, message in (
        ("3.png,cat\n", "my.csv labels '3.png' and none of the 2 images, such as"),
        ("cat\n", "my.csv is no table of labels: each line must hold"),
        ("a,b,c\n1.png,2,3\n", "my.csv has 3 columns and none is called label"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            load_data(folder, labels=str(path))
        (folder / "labels.csv").write_text(text)
        assert load_data(folder).train.labels is None  # nobody asked for it, so it is noted
        assert "The file is left out." in load_data(folder).notes[0]
    path.write_text("1.png,cat\n")
    data = load_data(folder, labels=str(path))
    assert {*data.train.labels.tolist(), *data.test.labels.tolist()} == {0, -1}
    assert data.notes[0] == "1 images have no label in my.csv"
    with pytest.raises(FileNotFoundError, match=r"labels is 'gone.csv', and there is no such file"):
        load_data(folder, labels="gone.csv")


def test_an_import_keeps_labels_names_and_parts(tmp_path):
    for part, number in (("train", 6), ("val", 3), ("test", 2)):
        folder_of(tmp_path / "x" / part, *(f"{'ab'[i % 2]}/{i}.png" for i in range(number)))
    direct, found = load_data(tmp_path / "x"), import_(tmp_path / "x", "mine")
    again = load_data("mine")
    assert checksum(again) == checksum(direct)
    assert checksum(again, labels=True) == checksum(direct, labels=True) == found.labels_checksum
    for mine, theirs in zip(again.parts().values(), direct.parts().values(), strict=True):
        assert mine.names == theirs.names
        assert mine.classes == theirs.classes
        assert torch.equal(mine.labels, theirs.labels)
    assert (found.train, found.validation, found.test, found.labels) == (6, 3, 2, {"a": 3, "b": 3})
    assert found.first_name == direct.train.names[0]


def test_images_are_channels_first_however_small(tmp_path):
    for number in range(3):
        save_image(tmp_path / "x" / f"{number}.png", grey(5, 3, 3))
    direct = load_data(tmp_path / "x", colour="rgb", shape="image")
    import_(tmp_path / "x", "mine", colour="rgb")
    assert direct.train.values.shape[1:] == load_data("mine", shape="image").train.values.shape[1:] == (3, 5, 3)


def test_a_photo_with_its_preview_in_one_file_is_the_photo(tmp_path):
    photo, preview = Image.fromarray(np.full((16, 16), 200, np.uint8)), Image.fromarray(np.zeros((8, 8), np.uint8))
    for number in range(2):
        photo.save(tmp_path / f"{number}.jpg", "MPO", save_all=True, append_images=[preview])
    assert load_data(tmp_path).train.values.unique().tolist() == [200]
