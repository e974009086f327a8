"""Videos: what they are (`probe`), their frames (`read_frames`), and new ones with sound (`VideoWriter`)."""

from animask.partials import clean_partials
from animask.video.probing import VideoInfo, probe
from animask.video.reading import read_frames
from animask.video.writing import VideoWriter

__all__ = ["VideoInfo", "VideoWriter", "clean_partials", "probe", "read_frames"]
