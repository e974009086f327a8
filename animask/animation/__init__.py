"""A source picture and driver frames to animated frames: `animate` streams; `animate_file`, `animate_many`: files."""

from animask.animation.batches import Failure, Summary, animate_many, list_jobs, read_pairs
from animask.animation.crops import Crop, parse_crop
from animask.animation.files import Job, Report, animate_file, check_output, is_there
from animask.animation.layouts import COLUMNS, LAYOUTS, Layout, lay_out
from animask.animation.previews import Preview, preview_crops
from animask.animation.settings import Settings
from animask.animation.streaming import Source, animate, at_precision, device_of, encode_source, trace_frames
from animask.animation.studio import Studio, open_model

__all__ = [
    "COLUMNS",
    "LAYOUTS",
    "Crop",
    "Failure",
    "Job",
    "Layout",
    "Preview",
    "Report",
    "Settings",
    "Source",
    "Studio",
    "Summary",
    "animate",
    "animate_file",
    "animate_many",
    "at_precision",
    "check_output",
    "device_of",
    "encode_source",
    "is_there",
    "lay_out",
    "list_jobs",
    "open_model",
    "parse_crop",
    "preview_crops",
    "read_pairs",
    "trace_frames",
]
