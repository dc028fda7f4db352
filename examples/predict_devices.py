"""Which device serves a model how fast by format, predicted: no GPU and no download.

Run: python examples/predict_devices.py
"""

import whichbits

for device in ("L40S", "H100"):
    formats = ["bf16", "w8a8-fp", "w4a16-int"]
    for row in whichbits.predict("llama-3.1-8b", format=formats, hardware=device, workload="rag", concurrency="16"):
        print(row["format"], "on", device, {name: value for name, value in row.items() if isinstance(value, float)})
