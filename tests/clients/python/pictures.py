"""Says what the files in a folder are, one JSON object for all of them.

    {"python-0-0": {"is": ["image/jpeg 512x512"], "digest": "…"}, …}

Pictures are decoded to their last frame by Pillow, which shares no code with the proxy.
"""

import email
import hashlib
import io
import json
import sys
from pathlib import Path

from PIL import Image


def main(folder):
    print(json.dumps({path.name: look_at(path.read_bytes()) for path in sorted(folder.iterdir())}))


def look_at(payload):
    return {"is": descriptions(payload), "digest": hashlib.sha256(payload).hexdigest()}


def descriptions(payload):
    # PyPI's client returns a multipart body as it came, without the header that names its boundary.
    if payload.startswith(b"--"):
        return [description(part) for part in parts(payload)]
    return [description(payload)]


def parts(body):
    boundary = body.split(b"\r\n", 1)[0][2:]
    header = b'Content-Type: multipart/related; boundary="' + boundary + b'"\r\n\r\n'
    message = email.message_from_bytes(header + body)
    if message.defects or not message.is_multipart():
        return [b""]
    return [part.get_payload(decode=True) for part in message.get_payload()]


def description(payload):
    kind = document(payload)
    return kind if kind else picture(payload)


def document(payload):
    start = payload[:64].lstrip().lower()
    if start.startswith(b"%pdf-"):
        return "application/pdf" if b"%%EOF" in payload[-1024:] else "a PDF cut short"
    if start.startswith(b"<!doctype html"):
        return "text/html" if b"</html>" in payload else "an HTML document cut short"
    if start.startswith(b"<?xml"):
        return "text/xml"
    if payload[4:8] == b"ftyp":
        return "video/mp4"
    # An MPEG transport or program stream, or a bare MPEG-2 video sequence.
    if start[:1] == b"G" and payload[188:189] == b"G" or start[:4] in (b"\0\0\1\xba", b"\0\0\1\xb3"):
        return "video/mpeg"
    return "text/plain" if is_text(payload) else None


def is_text(payload):
    try:
        lines = payload.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        return False
    return any(lines) and all(line.replace("\t", " ").isprintable() for line in lines)


def picture(payload):
    try:
        image = Image.open(io.BytesIO(payload))
        frames = getattr(image, "n_frames", 1)
        lowest_and_highest = set()
        for frame in range(frames):
            image.seek(frame)
            image.load()
            lowest_and_highest.update(image.convert("L").getextrema())
    # Pillow raises many kinds for what it cannot read.
    except Exception as error:
        return f"no picture ({type(error).__name__}: {error}), it begins with {payload[:12]!r}"
    words = [Image.MIME[image.format], f"{image.width}x{image.height}"]
    if frames > 1:
        words.append(f"{frames} frames")
    if image.info.get("icc_profile"):
        words.append("with a profile")
    if len(lowest_and_highest) < 2:
        words.append("of one colour")
    return " ".join(words)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
