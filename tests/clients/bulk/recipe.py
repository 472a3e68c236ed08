"""The usual recipe for thumbnails in Python, in two processes: what `./run bench bulk` is beside.

    recipe.py IN OUT [--one-frame]

Every file below IN becomes a JPEG in OUT. Without --one-frame a cine is decoded as a whole, as `pixel_array`
does; with it only the frame that is shown, which few know how to ask for.
"""

import multiprocessing
import pathlib
import sys

import numpy
from PIL import Image
from pydicom import dcmread
from pydicom.pixels import apply_modality_lut, apply_voi_lut, pixel_array


def thumbnail(work):
    source, target, one_frame = work
    dataset = dcmread(source)
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames == 1:
        pixels = dataset.pixel_array
    elif one_frame:
        pixels = pixel_array(dataset, index=frames // 2)
    else:
        pixels = dataset.pixel_array[frames // 2]
    if dataset.SamplesPerPixel == 1:
        pixels = apply_voi_lut(apply_modality_lut(pixels, dataset), dataset).astype(float)
        low, high = pixels.min(), pixels.max()
        pixels = (pixels - low) * (255.0 / max(high - low, 1e-9))
        if dataset.PhotometricInterpretation == "MONOCHROME1":
            pixels = 255.0 - pixels
        pixels = pixels.astype(numpy.uint8)
    picture = Image.fromarray(pixels)
    picture.thumbnail((256, 256), Image.Resampling.LANCZOS)
    picture.save(target, quality=80)


def main():
    folder, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    one_frame = "--one-frame" in sys.argv
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    work = [(path, out / f"{number}.jpg", one_frame) for number, path in enumerate(files)]
    with multiprocessing.Pool(2) as pool:
        done = sum(1 for _ in pool.imap_unordered(thumbnail, work, chunksize=4))
    print(done)


if __name__ == "__main__":
    main()
