#!/bin/sh
# Makes the secrets that compose.yaml mounts, once; those that are there stay.
set -eu
cd "$(dirname "$0")"
umask 077
mkdir -p secrets
# containers run as another user; the folder above keeps everybody else out
make_secret() {
  [ -s "secrets/$1" ] || od -An -N24 -tx1 /dev/urandom | tr -d ' \n' >"secrets/$1"
  chmod 0644 "secrets/$1"
}
make_secret postgres_password
make_secret minio_password
make_secret grafana_password
[ -s secrets/minio_user ] || printf 'orchestrai' >secrets/minio_user
printf 'postgresql://dagster:%s@postgres/dagster' "$(cat secrets/postgres_password)" >secrets/instance_db
printf '[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n' \
  "$(cat secrets/minio_user)" "$(cat secrets/minio_password)" >secrets/aws_credentials
chmod 0644 secrets/minio_user secrets/instance_db secrets/aws_credentials
