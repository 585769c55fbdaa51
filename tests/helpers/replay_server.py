"""Serve on the loopback interface what the archives NOIRLab and Zenodo would answer, with faults that tests set."""

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
from astropy.io import fits

MD5 = Callable[[bytes], str]
SLOW = 10  # bytes in a tenth of a second
# The answer to /api/adv_search/core_file_fields/, shortened.
FIELDS = {
    **dict.fromkeys(("archive_filename", "original_filename", "md5sum"), "str"),
    **dict.fromkeys(("caldat", "release_date", "dateobs_center"), "datetime64"),
    **dict.fromkeys(("exposure", "ra_center", "dec_center"), "np.float64"),
    **dict.fromkeys(("ifilter", "instrument", "obs_type", "proc_type", "prod_type", "telescope"), "category"),
    "filesize": "np.int64",
}


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


@dataclass
class Fault:
    """Describe a faulty response: an error status, a cut or a stall after some bytes, slow sending, other content."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    stall: int | None = None
    slow: bool = False
    content: bytes | None = None


@dataclass
class Request:
    """Record a request, with the number of bytes sent in its response."""

    method: str
    path: str
    start: int | None
    body: Any
    sent: int = 0


class ReplayServer:
    """Run the server: a test fills its files, rows and records, and inspects its requests."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}  # path -> content
        self.records: dict[int, dict[str, Any]] = {}  # of Zenodo
        self.rows: list[dict[str, Any]] = []  # of NOIRLab
        self.fields = dict(FIELDS)
        self.prefix = ""  # "file:" in some answers of NOIRLab
        self.ranges = True
        self.faults: dict[str, list[Fault]] = {}  # path -> faults of the next requests
        self.requests: list[Request] = []
        self.release = threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"replay": self}))
        self.server.daemon_threads = True
        self.base = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release.set()
        self.server.shutdown()
        self.server.server_close()

    def downloads(self) -> list[Request]:
        return [r for r in self.requests if r.path.split("?")[0] in self.files]

    def add_row(self, name: str, content: bytes, **facts: Any) -> dict[str, Any]:
        """Add a file to NOIRLab; return its row."""
        row = {
            "md5sum": md5(content),
            "archive_filename": f"/net/archive/pipe/{facts['caldat'].replace('-', '')}/ct4m/2012B-0001/{name}",
            "original_filename": f"/somewhere/else/{name}",
            "filesize": len(content),
            "instrument": "decam",
            "telescope": "ct4m",
            "release_date": "2014-01-01",
            **facts,
        }
        self.rows.append(row)
        self.files[f"/api/retrieve/{row['md5sum']}/"] = content
        return row

    def add_record(self, number: int, files: dict[str, bytes], new: bool = True) -> None:
        """Add a record to Zenodo, in the present form or in the older one."""
        items = []
        for name, content in files.items():
            path = f"/api/records/{number}/files/{name}/content" if new else f"/api/files/0f1e/{name}"
            self.files[path] = content
            if new:
                item = {"id": "1", "key": name, "size": len(content), "checksum": f"md5:{md5(content)}"}
                items.append(item | {"links": {"self": self.base + path}})
            else:
                item = {"id": "1", "filename": name, "filesize": len(content), "checksum": md5(content)}
                links = {"self": f"{self.base}/api/nothing", "download": self.base + path}
                items.append(item | {"links": links})
        self.records[number] = {"id": number, "metadata": {"license": {"id": "cc-by-4.0"}}, "files": items}

    def json(self, path: str, query: dict[str, list[str]], body: Any) -> tuple[int, Any] | None:
        """Answer a request of the API; return status and JSON."""
        record = re.fullmatch(r"/api/records/(\d+)", path)
        if record:
            found = self.records.get(int(record[1]))
            return (200, found) if found else (404, {"status": 404, "message": "PID does not exist."})
        if path == "/api/adv_search/core_file_fields/":
            return 200, [{"Field": name, "Type": kind} for name, kind in self.fields.items()]
        if path == "/api/adv_search/aux_file_fields/decam/instcal/":
            return 200, [{"Field": "AIRMASS", "Type": "str"}, {"Field": "EXPNUM", "Type": "str"}]
        return self.find(query, body) if path == "/api/adv_search/find/" else None

    def find(self, query: dict[str, list[str]], body: Any) -> tuple[int, Any]:
        fields = [*body["outfields"], *(condition[0] for condition in body["search"])]
        for name in fields:
            if name not in self.fields:
                return 400, {"errorCode": "BADFIELD", "errorMessage": f"Unknown field: {name}"}
        rows = [row for row in self.rows if all(self.fits(row, *condition) for condition in body["search"])]
        rows = sorted(rows, key=lambda row: row["md5sum"])[: int(query["limit"][0])]
        shown = [{self.prefix + key: row.get(key) for key in body["outfields"]} for row in rows]
        url = "https://astroarchive.noirlab.edu/api/retrieve/"
        about = {
            "META": {"endpoint": "adv_search/find"},
            "PARAMETERS": {"limit": int(query["limit"][0]), "last": len(shown)},
            "HEADER": {name: self.fields[name] for name in body["outfields"]},
        }
        return 200, [about, *(row | {"url": url + found["md5sum"]} for row, found in zip(shown, rows, strict=True))]

    def fits(self, row: dict[str, Any], name: str, *values: Any) -> bool:
        own = row.get(name)
        if self.fields[name] == "category":
            return own in values
        return own is not None and values[0] <= own <= values[1]


class _Handler(BaseHTTPRequestHandler):
    replay: ReplayServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.answer(None)

    def do_POST(self) -> None:
        self.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def answer(self, body: Any) -> None:
        replay, parts = self.replay, urlsplit(self.path)
        path = unquote(parts.path)
        range_header = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        request = Request(self.command, unquote(self.path), int(range_header[1]) if range_header else None, body)
        replay.requests.append(request)
        waiting = replay.faults.get(path, [])
        trouble = waiting.pop(0) if waiting else Fault()
        query = parse_qs(parts.query)
        if trouble.status:
            self.send_json(trouble.status, {"message": "come back later"}, trouble.headers)
        elif path in replay.files:
            content = replay.files[path] if trouble.content is None else trouble.content
            if "hdus" in query:
                self.send(cut_hdus(content, map(int, query["hdus"][0].split(","))), request, Fault(), chunked=True)
            else:
                self.send(content, request, trouble)
        else:
            status, content = replay.json(path, query, body) or (404, {"detail": "Not found."})
            self.send_json(status, content, {})

    def send_json(self, status: int, content: Any, headers: dict[str, str]) -> None:
        text = json.dumps(content).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def send(self, content: bytes, request: Request, trouble: Fault, chunked: bool = False) -> None:
        start = request.start if self.replay.ranges and not chunked else None
        if start is not None and start >= len(content):
            self.send_json(416, {}, {"Content-Range": f"bytes */{len(content)}"})
            return
        part = content[start or 0 :]
        self.send_response(200 if start is None else 206)
        if start is not None:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if chunked:  # generated while it is sent, so its length is unknown
            self.send_header("Transfer-Encoding", "chunked")
            part = f"{len(part):x}\r\n".encode() + part + b"\r\n0\r\n\r\n"
        else:
            self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        pause = trouble.stall if trouble.stall is not None else len(part)
        part = part[: trouble.cut]
        step = SLOW if trouble.slow else max(1, len(part) - pause)
        for piece in (part[:pause], *(part[n : n + step] for n in range(pause, len(part), step))):
            request.sent += len(piece)  # before, as the other side may be done and ask before this thread continues
            self.wfile.write(piece)
            self.wfile.flush()
            if trouble.stall is not None:
                self.replay.release.wait(120)
            if trouble.slow:
                time.sleep(0.1)
        self.close_connection = trouble.cut is not None or trouble.stall is not None


def cut_hdus(content: bytes, numbers: Iterable[int]) -> bytes:
    """Cut the given HDUs out of a FITS file, as the archive's service does."""
    with fits.open(BytesIO(content)) as hdus:
        out = BytesIO()
        fits.HDUList([hdus[n] for n in numbers]).writeto(out)
    return out.getvalue()


@cache
def exposure_bytes(
    kind: str, seed: int, ccds: tuple[str, ...] = ("S29", "N4", "S4"), side: int = 64, **header: Any
) -> bytes:
    """Make a small multi-extension file in DECam's layout, tile-compressed: 'instcal', 'dqmask' or 'raw'.

    A raw CCD has two amplifiers, B left and A right; at the outer side of each are 6 columns without light and 50 of
    overscan.
    """
    rng = np.random.default_rng(seed)
    primary = fits.PrimaryHDU()
    primary.header.update({"INSTRUME": "DECam", "OBJECT": "field", "FILTER": "g DECam SDSS c0001 4720.0 1520.0"})
    primary.header.update({"OBSTYPE": "dark" if kind == "raw" else "object", "EXPTIME": 90.0, **header})
    hdus = fits.HDUList([primary])
    for number, ccd in enumerate(ccds, 1):
        image = rng.normal(200, 10, (side, side)).astype(np.float32)
        if kind == "dqmask":
            image = np.zeros((side, side), np.int32)
            image[number, 3], image[5, 5] = 1, 5  # a bad pixel, and a hit that is none of its business
        if kind == "raw":
            image = rng.normal(1500, 1.6, (side, side + 112)).round().astype(np.uint16)
        part = fits.CompImageHDU(image, name=ccd, compression_type="RICE_1")
        part.header.update({"CCDNUM": number, "GAINA": 4.0, "RDNOISEA": 6.5, "SATURATA": 45000.0})
        if kind == "raw":
            part.header.update({"GAINB": 4.2, "RDNOISEB": 6.6, "SATURATB": 45000.0})
            middle, end = 56 + side // 2, 56 + side
            part.header.update({"DATASECB": f"[57:{middle},1:{side}]", "BIASSECB": f"[7:56,1:{side}]"})
            part.header.update({"DATASECA": f"[{middle + 1}:{end},1:{side}]", "TRIMSEC": f"[57:{end},1:{side}]"})
            part.header.update({"BIASSECA": f"[{end + 1}:{end + 50},1:{side}]"})
        hdus.append(part)
    out = BytesIO()
    hdus.writeto(out)
    return out.getvalue()
