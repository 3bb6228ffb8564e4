#!/bin/sh
# Roles and databases for MLflow and Prefect; the image runs it once, on an empty volume.
set -eu

for name in mlflow prefect; do
    case "$name" in
        mlflow) password=$MLFLOW_DB_PASSWORD ;;
        prefect) password=$PREFECT_DB_PASSWORD ;;
    esac
    PGOPTIONS="-c lsr.password=$password" psql -q -v ON_ERROR_STOP=1 -U postgres -d postgres <<SQL
DO \$\$ BEGIN EXECUTE format('CREATE ROLE $name LOGIN PASSWORD %L', current_setting('lsr.password')); END \$\$;
CREATE DATABASE $name OWNER $name;
REVOKE CONNECT ON DATABASE $name FROM PUBLIC;
SQL
done
