"""The example that comes with the project, made by the project: a toon's portrait and another toon, talking.

`python -m animask.samples FOLDER` writes face.png and driver.mp4; both identities lie outside the training range.
"""

import sys
import tempfile
import wave
from fractions import Fraction
from pathlib import Path

import numpy as np

from animask.images import write_image
from animask.toons import Pose, pose_at, render, sample_identity
from animask.video import VideoWriter

FACE, DRIVER = 32, 58  # identities, chosen from the first hundred for how well they show
MOTION = 5  # speaker
SIZE = 256
SECONDS = 5
FPS = Fraction(25)
SOUND_RATE = 24000


def write_face(path: Path) -> None:
    """A portrait, facing the viewer: PNG of SIZE × SIZE."""
    write_image(path, render(sample_identity(FACE), Pose(smile=0.4), SIZE))


def write_driver(path: Path) -> None:
    """SECONDS of another toon that talks and looks about, with a voice that follows its mouth."""
    identity = sample_identity(DRIVER)
    with tempfile.TemporaryDirectory() as folder:
        sound = Path(folder) / "voice.wav"
        write_voice(sound)
        with VideoWriter(path, FPS, (SIZE, SIZE), audio=sound) as writer:
            for number in range(int(SECONDS * FPS)):
                writer.write(render(identity, pose_at(MOTION, float(number / FPS)), SIZE))


def write_voice(path: Path) -> None:
    """A humming voice, mono 16-bit WAV: harmonics of 120 Hz under two formants that follow the mouth."""
    time = np.arange(SECONDS * SOUND_RATE) / SOUND_RATE
    ticks = np.arange(0, SECONDS, 0.01)
    poses = [pose_at(MOTION, tick) for tick in ticks]
    opening = np.interp(time, ticks, [pose.mouth_open for pose in poses])
    smile = np.interp(time, ticks, [pose.smile for pose in poses])
    pitch = 120 + 12 * np.sin(2 * np.pi * 0.7 * time) + 15 * opening
    phase = 2 * np.pi * np.cumsum(pitch) / SOUND_RATE
    formants = ((300 + 500 * opening, 90.0, 1.0), (1200 + 700 * smile, 160.0, 0.4))
    voice = np.zeros_like(time)
    for harmonic in range(1, 26):
        gain = sum(level * np.exp(-(((harmonic * pitch - at) / width) ** 2) / 2) for at, width, level in formants)
        voice += (gain + 0.05) / harmonic**0.5 * np.sin(harmonic * phase)
    voice *= np.clip(opening * 1.5, 0, 1)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SOUND_RATE)
        file.writeframes((voice / max(np.abs(voice).max(), 1e-9) * 20000).astype("<i2").tobytes())


def main(folder: Path) -> None:
    """Write both files into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_face(folder / "face.png")
    write_driver(folder / "driver.mp4")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
