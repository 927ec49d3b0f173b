"""The detectors of controlnet-aux that need weights or further packages: one row each."""

from __future__ import annotations

from lisa.annotators._detectors import RESOLUTION, Row
from lisa.annotators.base import Knob

_SAFE = Knob("safe", "Few levels", False, "Quantise the edges, so that they hide no texture")
_SCRIBBLE = Knob("scribble", "Scribble", False, "Turn the edges into thick strokes")

_EDGES = (
    Row(
        "hed",
        "HED soft edges",
        "hed",
        "HEDdetector",
        "Soft outlines of objects.",
        files=("ControlNetHED.pth",),
        knobs=(RESOLUTION, _SAFE, _SCRIBBLE),
    ),
    Row(
        "pidinet",
        "PiDiNet soft edges",
        "hed",
        "PidiNetDetector",
        "Soft outlines, cleaner than HED; its weights are licensed for research only.",
        files=("table5_pidinet.pth",),
        knobs=(
            RESOLUTION,
            _SAFE,
            _SCRIBBLE,
            Knob("binary", "Black and white", False, "Keep only edges above one half"),
        ),
        keywords={"binary": "apply_filter"},
    ),
    Row(
        "teed",
        "TEED soft edges",
        "hed",
        "TEEDdetector",
        "Soft edges from a very small network.",
        files=("5_model.pth",),
        source="fal-ai/teed",
        arguments={"filename": "5_model.pth"},
        knobs=(RESOLUTION, Knob("levels", "Levels", 2, "Number of edge levels; 0 keeps them all", 0, 10)),
        keywords={"levels": "safe_steps"},
    ),
    Row(
        "mlsd",
        "M-LSD straight lines",
        "mlsd",
        "MLSDdetector",
        "Straight lines, for rooms and buildings.",
        files=("mlsd_large_512_fp32.pth",),
        knobs=(
            RESOLUTION,
            Knob("score", "Score threshold", 0.1, "Certainty below which a line is dropped", 0.01, 1, 0.01),
            Knob("distance", "Length threshold", 0.1, "Length below which a line is dropped", 0.01, 20, 0.1),
        ),
        keywords={"score": "thr_v", "distance": "thr_d"},
    ),
    Row(
        "lineart",
        "Line art",
        "lineart",
        "LineartDetector",
        "A line drawing of a photograph.",
        files=("sk_model.pth", "sk_model2.pth"),
        knobs=(RESOLUTION, Knob("coarse", "Coarse", False, "Draw fewer and rougher lines")),
    ),
    Row(
        "lineart-anime",
        "Line art (anime)",
        "lineart",
        "LineartAnimeDetector",
        "A line drawing of an anime picture.",
        files=("netG.pth",),
    ),
    Row(
        "anyline",
        "AnyLine",
        "lineart",
        "AnylineDetector",
        "Line art with fine detail kept.",
        files=("MTEED.pth",),
        source="TheMistoAI/MistoLine",
        subfolder="Anyline",
        arguments={"filename": "MTEED.pth"},
        knobs=(
            Knob(
                "detect_resolution",
                "Detection resolution",
                1280,
                "Shorter side the detector works at",
                64,
                2048,
                64,
                "pixels",
            ),
            Knob("sigma", "Line width", 2.0, "Width of the surroundings", 0.5, 30, 0.5, "pixels"),
            Knob("threshold", "Threshold", 3, "Contrast that counts as a line when levels are set", 0, 255),
        ),
        keywords={"sigma": "guassian_sigma", "threshold": "intensity_threshold"},
    ),
)

_GEOMETRY = (
    Row(
        "midas",
        "MiDaS depth",
        "depth",
        "MidasDetector",
        "Relative depth, near is bright; weaker above 512 pixels.",
        files=("dpt_hybrid-midas-501f0c75.pt",),
    ),
    Row(
        "zoe",
        "ZoeDepth",
        "depth",
        "ZoeDetector",
        "Depth with evenly spaced levels, near is bright.",
        files=("ZoeD_M12_N.pt",),
        knobs=(RESOLUTION, Knob("gamma", "Gamma", False, "Darken what is far")),
        keywords={"gamma": "gamma_corrected"},
    ),
    Row(
        "leres",
        "LeReS depth",
        "depth",
        "LeresDetector",
        "Depth with fine detail, near is bright.",
        files=("res101.pth", "latest_net_G.pth"),
        knobs=(
            RESOLUTION,
            Knob("near", "Remove near", 0.0, "Part of the depth range dropped in front", 0, 100, 1, "%"),
            Knob("far", "Remove far", 0.0, "Part of the depth range dropped behind", 0, 100, 1, "%"),
        ),
        keywords={"near": "thr_a", "far": "thr_b"},
    ),
    Row(
        "normal-bae",
        "Surface normals (BAE)",
        "normal",
        "NormalBaeDetector",
        "Which way each surface faces, as a colour.",
        files=("scannet.pt",),
    ),
)

_OBJECTS = (
    Row(
        "openpose",
        "OpenPose",
        "pose",
        "OpenposeDetector",
        "Skeletons of people.",
        files=("body_pose_model.pth", "hand_pose_model.pth", "facenet.pth"),
        knobs=(
            RESOLUTION,
            Knob("body", "Body", True, "Draw the body"),
            Knob("hand", "Hands", False, "Draw the hands"),
            Knob("face", "Face", False, "Draw the face"),
        ),
        keywords={"body": "include_body", "hand": "include_hand", "face": "include_face"},
    ),
    Row(
        "dwpose",
        "DWPose",
        "pose",
        "DWposeDetector",
        "Skeletons of people with hands and faces.",
        packages=("mmcv", "mmpose", "mmdet"),
    ),
    Row(
        "mediapipe-face",
        "MediaPipe face",
        "face",
        "MediapipeFaceDetector",
        "A mesh over each face.",
        packages=("mediapipe",),
        knobs=(
            RESOLUTION,
            Knob("faces", "Faces", 1, "Most faces to find", 1, 20),
            Knob("confidence", "Confidence", 0.5, "Certainty below which a face is dropped", 0.01, 1, 0.01),
        ),
        keywords={"faces": "max_faces", "confidence": "min_confidence"},
    ),
    Row(
        "sam",
        "Segment Anything (mobile)",
        "sam",
        "SamDetector",
        "Every region in a colour of its own; the colours carry no meaning.",
        files=("mobile_sam.pt",),
        source="dhkim2810/MobileSAM",
        arguments={"model_type": "vit_t", "filename": "mobile_sam.pt"},
    ),
)

for _row in (*_EDGES, *_GEOMETRY, *_OBJECTS):
    _row.register()
