"""Makes calls of PyPI's dicomweb-client as it is told.

calls.py BASE_URL FOLDER reads one call per line from standard input,

    {"function": "retrieve_instance_rendered", "arguments": {"study_instance_uid": "1.2", ...}}

and writes for each what came of it, in the same order: {"error": "what the library raised", "status": 406},
without status where it was not the server's, or {"files": ["python-0-0"]}, the payloads that the library
returned, below FOLDER. The last line names the library's calls for renderings:
{"offers": ["retrieve_instance_rendered", ...]}.
"""

import json
import re
import sys
from pathlib import Path

from dicomweb_client import DICOMwebClient


def main(base_url, folder):
    client = DICOMwebClient(url=base_url)
    # An error is to be seen, not waited out.
    client.set_http_retry_params(retry=False)
    for number, line in enumerate(sys.stdin):
        call = json.loads(line)
        print(json.dumps(outcome(client, call, folder, number)), flush=True)
    print(json.dumps({"offers": offers(client)}))


def outcome(client, call, folder, number):
    try:
        payloads = getattr(client, call["function"])(**call["arguments"])
    # Whatever the library raises is what its caller sees.
    except Exception as error:
        response = getattr(error, "response", None)
        status = None if response is None else response.status_code
        return {"error": f"{type(error).__name__}: {error}", "status": status}
    return {"files": keep(payloads, folder, number)}


def keep(payloads, folder, number):
    payloads = [payloads] if isinstance(payloads, bytes) else payloads
    names = []
    for part, payload in enumerate(payloads):
        names.append(f"python-{number}-{part}")
        (folder / names[-1]).write_bytes(payload)
    return names


def offers(client):
    return [name for name in dir(client) if re.search("rendered|thumbnail", name, re.IGNORECASE)]


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
