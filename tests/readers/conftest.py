"""A small npz dataset with captions and thumbnails, a small Parquet one, and trees of the published datasets, as outside datasets look."""

import gzip
import json
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.io


def npz_arrays(num_rows=60, *, seed=0):
    rng = np.random.default_rng(seed)
    labels = (rng.random((num_rows, 4)) < 0.4).astype(np.uint8)
    labels[np.arange(num_rows), rng.integers(4, size=num_rows)] = 1
    return {
        "image_features": rng.normal(size=(num_rows, 6)).astype(np.float16),
        "text_features": rng.normal(size=(num_rows, 3)).astype(np.float16),
        "labels": labels,
        "label_names": np.array(["person", "cat", "dog", "bus"]),
        "split": np.array([0, 0, 2, 0, 1, 0] * (num_rows // 6), dtype=np.uint8),
    }


@pytest.fixture
def npz_folder(tmp_path):
    arrays = npz_arrays()
    np.savez(tmp_path / "data.npz", **arrays)
    lines = [json.dumps({"text": f"caption {i}", "path": f"p{i}"}) for i in range(60)]
    (tmp_path / "items.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    thumbnails = pa.table({"row": list(range(0, 60, 2)), "webp": [b"image %d" % i for i in range(0, 60, 2)]})
    pq.write_table(thumbnails, tmp_path / "thumbnails.parquet")
    return tmp_path


@pytest.fixture
def save_npz(tmp_path):
    """Write an npz file whose arrays are changed; None leaves an array out."""

    def save(name="data.npz", **changes):
        arrays = {key: value for key, value in {**npz_arrays(), **changes}.items() if value is not None}
        np.savez(tmp_path / name, **arrays)
        return str(tmp_path / name)

    return save


def make_table(start, stop, *, width=4):
    rows = range(start, stop)
    return pa.table(
        {
            "key": pa.array([100 + i for i in rows], type=pa.int32()),
            "image": pa.array([[float(i), *[0.5] * (width - 1)] for i in rows], type=pa.list_(pa.float32())),
            "text": pa.array([[float(-i), 1.0] for i in rows], type=pa.list_(pa.float16(), 2)),
            "tags": [[("cat", "dog", "bus")[i % 3]] + (["sky"] if i % 2 else []) for i in rows],
            "title": [f"title {i}" for i in rows],
            "part": [("train", "train", "val", "test")[i % 4] for i in rows],
        }
    )


@pytest.fixture
def parquet_table():
    return make_table


@pytest.fixture
def parquet_folder(tmp_path):
    folder = tmp_path / "parquet"
    folder.mkdir()
    for i, (start, stop) in enumerate([(0, 25), (25, 30), (30, 70)]):
        pq.write_table(make_table(start, stop), folder / f"part-{i}.parquet", row_group_size=10)
    return folder


@pytest.fixture
def trees():
    """Functions that write a small dataset in its published layout below a folder, and give the settings that read it."""
    return SimpleNamespace(
        ms_coco=coco_tree,
        mirflickr=mirflickr_tree,
        nus_wide=nus_tree,
        pascal_voc=voc_tree,
        pascal_sentence=sentence_tree,
        wikipedia=wikipedia_tree,
        openclipart=openclipart_tree,
    )


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def coco_tree(folder):
    """Category ids with gaps, in no order; annotation ids that look like image ids; images without captions (30), instances (34, 73)."""
    categories = [{"id": 90, "name": "toothbrush"}, {"id": 1, "name": "person"}, {"id": 18, "name": "dog"}, {"id": 13, "name": "stop sign"}]
    parts = {
        "train2014": (
            [9, 25, 30, 34],
            [(9, 48, "A meal.\n"), (25, 9, "A dog sleeps."), (9, 25, "Food  on a\ntable"), (34, 77, "A zebra.")],
            [(9, 90), (9, 1), (25, 18), (9, 90), (30, 1)],
        ),
        "val2014": ([42, 73], [(42, 1, "A sign."), (73, 2, "A bike."), (73, 3, "Two wheels.")], [(42, 13)]),
    }
    for part, (images, captions, instances) in parts.items():
        rows = [{"id": i, "file_name": f"COCO_{part}_{i:012d}.jpg", "height": 4, "width": 6, "license": 1} for i in images]
        spoken = [{"image_id": i, "id": key, "caption": text} for i, key, text in captions]
        seen = [
            {"id": 900 + k, "image_id": i, "category_id": category, "iscrowd": 0, "segmentation": [[0.5, 1.0]]}
            for k, (i, category) in enumerate(instances)
        ]
        base = {"info": {"year": 2014}, "licenses": [], "images": rows}
        put(folder / f"annotations/captions_{part}.json", json.dumps({**base, "annotations": spoken}))
        put(folder / f"annotations/instances_{part}.json", json.dumps({**base, "annotations": seen, "categories": categories}))
        for row in rows:
            put(folder / part / row["file_name"], b"jpeg")
    splits = {9: "train", 25: "restval", 30: "train", 34: "val", 42: "test", 73: "restval"}
    karpathy = [{"cocoid": i, "imgid": k, "split": split, "sentences": []} for k, (i, split) in enumerate(splits.items())]
    put(folder / "dataset_coco.json", json.dumps({"images": karpathy, "dataset": "coco"}))
    files = {"train": "train2014", "test": "val2014"}
    settings = {name: {split: f"{folder}/annotations/{name}_{part}.json" for split, part in files.items()} for name in ("captions", "instances")}
    return {**settings, "images": {split: f"{folder}/{part}" for split, part in files.items()}}


def mirflickr_tree(folder):
    """25 images: `sky` on 1 to 20, `rare` on 3 to 21, 22 with an empty tag file, 24 with an empty line; a README among the annotations."""
    for i in range(1, 26):
        tags = [tag for tag, numbers in (("sky", range(1, 21)), ("rare", range(3, 22)), ("hund", [23]), ("café", [25])) if i in numbers]
        put(folder / f"mirflickr/im{i}.jpg", b"jpeg")
        put(folder / f"mirflickr/meta/tags/tags{i}.txt", "\r\n" if i == 24 else "".join(f"{tag}\r\n" for tag in tags))
    lists = {"baby": [1, 2, 21], "baby_r1": [2], "clouds": range(2, 20), "clouds_r1": [3, 19], "night": [22]}
    for name, numbers in lists.items():
        put(folder / f"mirflickr25k_annotations_v080/{name}.txt", "".join(f"{i}\r\n" for i in numbers))
    put(folder / "mirflickr25k_annotations_v080/README.txt", "Annotations for the MIRFLICKR-25000 collection\n")
    return {"folder": f"{folder}/mirflickr", "annotation_folder": f"{folder}/mirflickr25k_annotations_v080", "num_test": 4, "num_validation": 2}


NUS_IMAGES = ("actor\\0001_10.jpg", "actor\\0002_20.jpg", "lake\\0001_30.jpg", "lake\\0002_10.jpg", "zoo\\0001_50.jpg", "zoo\\0002_60.jpg")
NUS_PARTS = {"Train": (0, 2, 3, 5), "Test": (4, 1)}
NUS_LABELS = {"animal": "001100", "lake": "111001", "sky": "111001"}
NUS_TAGS = ("101", "010", "100", "111", "001", "000")


def nus_tree(folder):
    """Windows line ends, backslashes, trailing tabs and blanks, a photo id that is there twice (10), an image without tags (5)."""
    lists = {"": range(6), **NUS_PARTS}
    labels = {"": "AllLabels/Labels_{}.txt", "Train": "TrainTestLabels/Labels_{}_Train.txt", "Test": "TrainTestLabels/Labels_{}_Test.txt"}
    tags = {"": "AllTags1k.txt", "Train": "Train_Tags1k.dat", "Test": "Test_Tags1k.dat"}
    for part, rows in lists.items():
        put(folder / f"ImageList/{part}Imagelist.txt", "".join(f"{NUS_IMAGES[i]}\r\n" for i in rows))
        for name, column in NUS_LABELS.items():
            put(folder / "Groundtruth" / labels[part].format(name), "".join(f"{column[i]}\n" for i in rows))
        put(folder / "NUS_WID_Tags" / tags[part], "".join("\t".join(NUS_TAGS[i]) + "\t\r\n" for i in rows))
        start = f"{part}_" if part else ""
        put(folder / f"Low_Level_Features/{start}Normalized_CH.dat", "".join(f"{i}.5 -{i} \n" for i in rows))
        put(folder / f"Low_Level_Features/{start}Normalized_WT.dat", "".join(f"{i}e-1 \n" for i in rows))
    put(folder / "NUS_WID_Tags/TagList1k.txt", "water\nboat\nnature\n")
    words = ("film boat", "boat", "water", "nature water", "straße nature", "")
    put(folder / "NUS_WID_Tags/All_Tags.txt", "".join(f"{NUS_IMAGES[i][-6:-4]}       {words[i]} \r\n" for i in range(6)))
    for name in NUS_IMAGES:
        put(folder / "Flickr" / name.replace("\\", "/"), b"jpeg")
    return {"folder": str(folder), "images": f"{folder}/Flickr", "concepts": ["animal", "lake", "sky"]}


def voc_tree(folder):
    """Objects with parts of their own, difficult objects, an image all of whose objects are difficult (12), an empty tag file (9)."""
    objects = {
        "000001": [("dog", 0), ("person", 0)],
        "000005": [("chair", 0), ("chair", 1), ("sofa", 1)],
        "000007": [("car", 0)],
        "000009": [("person", 1), ("horse", 0), ("person", 0)],
        "000012": [("dog", 1)],
    }
    texts = {"000001": "dog\r\nman\r\n", "000005": "living room\n", "000007": "car", "000009": "\n", "000012": "puppy  garden"}
    lists = {"trainval": ["000005", "000007", "000009", "000012"], "train": ["000005", "000009"], "val": ["000007", "000012"], "test": ["000001"]}
    for name, ids in lists.items():
        put(folder / f"VOC2007/ImageSets/Main/{name}.txt", "".join(f"{i}\n" for i in ids))
    for name, found in objects.items():
        part = "<part><name>head</name><bndbox/></part>"
        rows = "".join(f"<object><name>{label}</name><difficult>{hard}</difficult><bndbox/>{part}</object>\n" for label, hard in found)
        put(folder / f"VOC2007/Annotations/{name}.xml", f"<annotation>\n<filename>{name}.jpg</filename>\n{rows}</annotation>\n")
        put(folder / f"VOC2007/JPEGImages/{name}.jpg", b"jpeg")
        put(folder / f"tags/{name}.txt", texts[name])
    return {"folder": f"{folder}/VOC2007", "texts": f"{folder}/tags"}


def sentence_tree(folder):
    classes = "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person pottedplant sheep sofa train tvmonitor"
    for label, name in enumerate(classes.split()):
        for k in range(3):
            stem = f"2008_{100 * label + k:06d}"
            put(folder / f"images/{name}/{stem}.jpg", b"jpeg")
            put(folder / f"sentences/{name}/{stem}.txt", f"A {name} number {k}.\r\nAnother one. \r\n\r\n")
    return {"folder": str(folder), "test_per_class": 1, "validation_per_class": 1}


def wikipedia_tree(folder):
    names = ("art", "biology", "geography", "history", "literature", "media", "music", "royalty", "sport", "warfare")
    parts = {"train": [("a1-1.2", "x1", 2), ("b2-3", "x2", 10), ("c3", "x3", 1), ("d4", "x4", 2)], "test": [("e5", "y1", 10), ("f6", "y2", 1)]}
    put(folder / "categories.list", "".join(f"{name}\n" for name in names))
    for part, rows in parts.items():
        put(folder / f"{part}set_txt_img_cat.list", "".join(f"{text}\t{image}\t{label}\n" for text, image, label in rows))
        for text, image, label in rows:
            page = f"<document>\n<title>{text}</title>\n<image>{image}</image>\n<text>\nOf {names[label - 1]}\n&amp; more.\n</text>\n</document>\n"
            put(folder / f"texts/{text}.xml", page)
            put(folder / f"images/{names[label - 1]}/{image}.jpg", b"jpeg")
    rng = np.random.default_rng(0)
    arrays = {"I_tr": rng.random((4, 5)), "T_tr": rng.random((4, 3)), "I_te": rng.random((2, 5)), "T_te": rng.random((2, 3))}
    scipy.io.savemat(folder / "raw_features.mat", arrays)
    return {"folder": str(folder), "features": False}


def openclipart_tree(folder):
    """Five pictures as the packages unpack them, each with the RDF block that the library wrote."""
    spaces = {"cc": "http://web.resource.org/cc/", "dc": "http://purl.org/dc/elements/1.1/", "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#"}
    declared = " ".join(f'xmlns:{prefix}="{address}"' for prefix, address in spaces.items())
    for i, name in enumerate(("animals/cat", "food/bread_01", "people/stickmen/run", "tools/saw", "shapes/arrows/left")):
        work = f"<dc:title>{name}</dc:title><dc:subject><rdf:Bag><rdf:li>word</rdf:li></rdf:Bag></dc:subject>"
        licence = '<cc:license rdf:resource="http://web.resource.org/cc/PublicDomain"/>'
        put(folder / "svg" / f"{name}.svg", f"<svg><metadata><rdf:RDF {declared}><cc:Work>{work}{licence}</cc:Work></rdf:RDF></metadata></svg>")
        put(folder / "png" / f"{name}.png", b"picture %d" % i)
    return {"png": str(folder / "png"), "svg": str(folder / "svg"), "num_validation": 1, "num_test": 1}
