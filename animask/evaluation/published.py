"""The figures of the paper, to stand beside ours where the data are the paper's: tables 1 and 2, reconstruction."""

PUBLISHED: dict[str, dict[str, dict[str, float]]] = {
    "vox": {
        "paper": {"l1": 0.034, "akd": 1.329, "aed": 0.130, "ssim": 0.80, "csim": 0.70},
        "FOMM": {"l1": 0.043, "akd": 1.294, "aed": 0.140},
    },
    "taichi": {
        "paper": {"l1": 0.047, "akd": 4.239, "mkr": 0.015, "aed": 0.147},
        "FOMM": {"l1": 0.063, "akd": 6.862, "mkr": 0.036, "aed": 0.179},
    },
    "bair": {"paper": {"l1": 0.021}, "FOMM": {"l1": 0.027}},
}
