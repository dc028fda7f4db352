"""Which device serves a model how fast by format, predicted: no GPU and no download.

Run: python examples/predict_devices.py
"""

import whichbits

for device in ("L40S", "H100"):
    formats = ["bf16", "w8a8-fp", "w4a16-int"]
    for answer in whichbits.predict("llama-3.1-8b", hardware=device, workload="rag", format=formats, concurrency=16):
        found = answer.prediction
        print(found.query.format, "on", device, f"{found.latency_s:.2f} s, {found.qps:.1f} requests/s")
