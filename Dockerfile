# aepo-rllib on the CPU, in the versions the tests ran on.
#   docker build -t aepo-rllib .
#   docker run --rm -v "$PWD/runs:/aepo/runs" aepo-rllib train --output runs/first
FROM python:3.11-slim

ENV PIP_NO_CACHE_DIR=1 PYTHONUNBUFFERED=1
WORKDIR /src
# Before the package: they change rarely, and are most of the image.
COPY constraints.txt ./
RUN pip install $(grep '^torch==' constraints.txt) --index-url https://download.pytorch.org/whl/cpu
COPY pyproject.toml setup.py README.md LICENSE ./
COPY aepo_rllib aepo_rllib
COPY envs envs
COPY eval eval
COPY cli cli
RUN pip install -c constraints.txt . && useradd --create-home aepo && mkdir -p /aepo/runs && chown -R aepo /aepo

USER aepo
WORKDIR /aepo
ENTRYPOINT ["aepo"]
CMD ["--help"]
