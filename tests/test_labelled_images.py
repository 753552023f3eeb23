"""A department's manifest and its pictures are read as they are meant, or refused with the place and the reason."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gsco_pacs.adapters.labelled_images import probabilities_in, read_images, read_pixels
from gsco_pacs.domain.errors import ConfigError
from gsco_pacs.testing.phantoms import encoded, make_dx

HEADER = "path,module,split,label,group,view"
ROW = "one.png,ours,train,mass,patient-1,PA"
RAMP = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4


def manifest_of(folder: Path, *lines: str, encoding: str = "utf-8") -> Path:
    Image.fromarray(RAMP).save(folder / "one.png")
    path = folder / "manifest.csv"
    path.write_text("\n".join(lines) + "\n", encoding=encoding)
    return path


def saved(folder: Path, picture: Image.Image, suffix: str = "png") -> Path:
    path = folder / f"picture.{suffix}"
    picture.save(path)
    return path


@pytest.mark.parametrize(
    ("mode", "order", "suffix"), [("I;16", "<u2", "png"), ("I;16", "<u2", "tiff"), ("I;16B", ">u2", "tiff")]
)
def test_a_picture_of_16_bits_is_as_bright_as_its_share_of_65535(
    tmp_path: Path, mode: str, order: str, suffix: str
) -> None:
    values = np.array([[0, 257], [32768, 65535]], order)
    picture = Image.frombytes(mode, (2, 2), values.tobytes())
    pixels = read_pixels(saved(tmp_path, picture, suffix), colours=3)
    assert pixels.dtype == np.float32
    assert pixels == pytest.approx(values.astype(np.float64) / 65535)


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_a_picture_whose_range_nobody_knows_is_refused(tmp_path: Path, kind: type[np.generic]) -> None:
    path = saved(tmp_path, Image.fromarray(RAMP.astype(kind)), "tiff")
    with pytest.raises(ConfigError, match=r"picture\.tiff has no known range of values: save it with 8 or"):
        read_pixels(path, colours=1)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_a_network_for_grey_pictures_sees_every_picture_of_8_bits_as_pillow_greys_it(
    tmp_path: Path, mode: str
) -> None:
    noise = np.random.default_rng(4).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    path = saved(tmp_path, Image.fromarray(noise).convert(mode), "tiff")
    with Image.open(path) as image:
        grey = np.asarray(image.convert("L"))
    assert np.array_equal(read_pixels(path, colours=1), (grey / np.float32(255)).astype(np.float32))


def test_a_network_for_colours_sees_those_that_the_file_has(tmp_path: Path) -> None:
    noise = np.random.default_rng(4).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    colours = saved(tmp_path, Image.fromarray(noise))
    assert np.array_equal(read_pixels(colours, colours=3), noise / np.float32(255))
    assert read_pixels(colours, colours=1).shape == (9, 7)
    grey = saved(tmp_path, Image.fromarray(noise[..., 0]))
    assert np.array_equal(read_pixels(grey, colours=3), read_pixels(grey, colours=1))


def test_what_is_no_picture_is_named(tmp_path: Path) -> None:
    dicom, cut = tmp_path / "chest.dcm", tmp_path / "cut.png"
    dicom.write_bytes(encoded(make_dx(40, 30)))
    whole = saved(tmp_path, Image.fromarray(np.random.default_rng(4).integers(0, 256, (64, 64), np.uint8)))
    cut.write_bytes(whole.read_bytes()[:2000])
    for path in (dicom, cut, tmp_path / "absent.png"):
        with pytest.raises(ConfigError, match=rf"{path.name} is not a readable PNG, JPEG or TIFF"):
            read_pixels(path, colours=1)


def test_a_byte_order_mark_before_the_first_column_does_not_matter(tmp_path: Path) -> None:
    (image,) = read_images(manifest_of(tmp_path, HEADER, ROW, encoding="utf-8-sig"), "ours", "train", None)
    assert (image.path, image.labels, image.group, image.view) == (
        tmp_path / "one.png", ("mass",), "patient-1", "PA",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("lines", "encoding", "reason"),
    [
        ((HEADER.replace("group", "patient"), ROW), "utf-8", "has no column group in its first line"),
        (("path;module;split", ROW), "utf-8", "no column path, module, split, label, group, view"),
        ((HEADER, ROW.replace("mass", "Raumforderung, groß")), "latin-1", "no CSV in UTF-8: save it as one"),
        ((HEADER, ROW), "utf-16", "no CSV in UTF-8: save it as one"),
        ((HEADER, ROW, ROW.replace("one", "two")), "utf-8", r"names .*two\.png, which is missing \(1 such"),
        ((HEADER, "", ROW.replace("patient-1", "")), "utf-8", r"line 3: one\.png has no group"),
        ((HEADER, "one.png,ours,train"), "utf-8", r"line 2: one\.png has no label and no group"),
        ((HEADER, ROW.replace("train", "test")), "utf-8", "no image of module 'ours' in split 'train'"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_refused_with_the_place(
    tmp_path: Path, lines: tuple[str, ...], encoding: str, reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason):
        read_images(manifest_of(tmp_path, *lines, encoding=encoding), "ours", "train", None)


def test_a_teachers_table_without_the_column_of_the_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no column Image Index"):
        probabilities_in(manifest_of(tmp_path, HEADER, ROW), (), ("mass",))
