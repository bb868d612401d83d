"""One measurement in a process of its own: takes what is to be measured as JSON, prints the figures as JSON."""

import json
import sys

import encoding_ceilings as ceilings
import encoding_product as product
import encoding_references as references

STEPS = {
    "loop": references.loop,
    "sentence_transformers": references.sentence_transformers,
    "daft": references.daft,
    "commit": product.commit,
    "calibrate": product.calibrate,
    "embed": product.embed,
    "graph": product.graph,
    "run": product.run,
    "memory": product.memory,
    "gemm": ceilings.gemm,
    "operations": ceilings.operations,
    "decoding": ceilings.decoding,
    "model": ceilings.model,
}

if __name__ == "__main__":
    spec = json.loads(sys.argv[1])
    print(json.dumps(STEPS[spec["step"]](spec)))
