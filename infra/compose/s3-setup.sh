#!/bin/sh
# Buckets and users of compose.yaml's S3 server; run again, it changes nothing but the secrets.
set -eu

mc mb --ignore-existing s3/lsr s3/mlflow

user() { # name, secret, policy file
    mc admin user add s3 "$1" "$2"
    mc admin policy create s3 "$1" "$3"
    # Attaching what is attached is an error.
    mc admin policy detach s3 "$1" --user "$1" || true
    mc admin policy attach s3 "$1" --user "$1"
}
user trainer "$TRAINER_SECRET" /iam/trainer.json
user promoter "$PROMOTER_SECRET" /iam/promoter.json
user reader "$READER_SECRET" /iam/reader.json
user mlflow "$MLFLOW_SECRET" /iam/mlflow.json
