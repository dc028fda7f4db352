# A node of a cluster with exactly the versions of requirements/study.lock (torch and vLLM for processors).
#
#     docker build -t whichbits .
#     docker run --rm --network host --shm-size 4g -v /shared:/shared whichbits ray start --head --block
FROM python:3.11-slim-bookworm
RUN apt-get update \
    && apt-get install -y --no-install-recommends bubblewrap libgomp1 libnuma1 \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/whichbits
COPY pyproject.toml README.md LICENSE ./
COPY requirements requirements
COPY tools tools
COPY src src
RUN tools/setup
ENV PATH=/opt/whichbits/.venv/bin:$PATH
CMD ["whichbits", "doctor"]
