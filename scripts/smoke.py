"""Sends a picture as a stranger would and waits for its cut-out: `python scripts/smoke.py http://127.0.0.1:8000`.

Registers an account of its own for it, so REGISTRATION_ENABLED must be true. Exits 0, or 1 with one line.
"""

import io
import secrets
import sys
import time

import httpx2
from PIL import Image, ImageDraw

PATIENCE = 120.0
SIDE = 512


def picture() -> bytes:
    """A red ball before a plain wall."""
    image = Image.new("RGB", (SIDE, SIDE), (205, 214, 221))
    ImageDraw.Draw(image).ellipse((SIDE // 4, SIDE // 4, 3 * SIDE // 4, 3 * SIDE // 4), fill=(190, 30, 40))
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def log_in(client: httpx2.Client) -> None:
    """Register an account and use it from here on."""
    email, password = f"smoke-{secrets.token_hex(6)}@example.com", secrets.token_urlsafe(24)
    account = {"email": email, "password": password}
    client.post("/api/v1/auth/register", json=account).raise_for_status()
    answer = client.post("/api/v1/auth/token", data={"username": email, "password": password}).raise_for_status()
    client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"


def cut_out(client: httpx2.Client) -> tuple[str, bytes]:
    """Upload, wait, and download from where the API sends us. Returns the task's id and the result.

    Raises:
        ValueError: the task failed, or did not end in time.
    """
    sent = client.post("/api/v1/uploads", files={"file": ("ball.png", picture(), "image/png")}).raise_for_status()
    task_id = str(sent.json()["task_id"])
    until = time.monotonic() + PATIENCE
    while (task := client.get(f"/api/v1/tasks/{task_id}").raise_for_status().json())["status"] != "completed":
        if task["status"] == "failed" or time.monotonic() > until:
            raise ValueError(f"task {task_id} is {task['status']}: {task['error_message'] or 'nobody took it'}")
        time.sleep(0.25)
    # Without the token: S3 refuses a request that is authorised twice.
    result = httpx2.get(task["presigned_url"], timeout=30).raise_for_status()
    return task_id, result.content


def check(result: bytes) -> None:
    """The ball is there and the wall is gone.

    Raises:
        ValueError: it is not so.
    """
    with Image.open(io.BytesIO(result)) as image:
        if (image.format, image.mode) != ("PNG", "RGBA"):
            raise ValueError(f"the result is {image.format} {image.mode}")
        alpha = image.getchannel("A")
        corner, middle = alpha.getpixel((0, 0)), alpha.getpixel((image.width // 2, image.height // 2))
    if (corner, middle) != (0, 255):
        raise ValueError(f"the alpha is {corner} in the corner and {middle} in the middle")


def main(url: str) -> None:
    begun = time.monotonic()
    try:
        with httpx2.Client(base_url=url, timeout=30) as client:
            log_in(client)
            task_id, result = cut_out(client)
        check(result)
    except (httpx2.HTTPError, ValueError, OSError) as error:
        sys.exit(f"quickbg: {error}")
    sys.stdout.write(f"Task {task_id}: a cut-out of {len(result)} bytes in {time.monotonic() - begun:.1f} s\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python scripts/smoke.py URL")
    main(sys.argv[1])
