# Scantling on a processor, with the versions that its tests pass with (constraints.txt).
#
#   docker build --tag scantling .
#   docker run --rm --volume "$PWD:/data" scantling demo --out demo
#
# With `--build-arg PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu` pip finds the build of torch without the
# libraries for GPUs, and the image is some gigabytes smaller.
#
# The second command is the check: it draws images, trains, predicts, evaluates and ends with a report to open.
FROM python:3.11-slim

# what compiled wheels need of the system: OpenMP
RUN apt-get update && apt-get install --yes --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/scantling
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY src src
ARG PIP_EXTRA_INDEX_URL=
RUN pip install --no-cache-dir --constraint constraints.txt .

# results belong to this user; `docker run --user "$(id -u):$(id -g)"` gives them to you
RUN useradd --create-home --uid 1000 scantling && mkdir /data && chown scantling /data
USER scantling
WORKDIR /data
ENV HOME=/tmp OMP_NUM_THREADS=2

ENTRYPOINT ["scantling"]
CMD ["--help"]
