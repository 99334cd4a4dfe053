#!/bin/sh
# Runs once, when Postgres starts on an empty volume: a data base and its owner for Prefect, and the same for MLflow.
set -eu
psql --set ON_ERROR_STOP=1 --username postgres <<'SQL'
\set prefect `cat /run/secrets/prefect_database_password`
\set mlflow `cat /run/secrets/mlflow_database_password`
CREATE ROLE prefect LOGIN PASSWORD :'prefect';
CREATE ROLE mlflow LOGIN PASSWORD :'mlflow';
CREATE DATABASE prefect OWNER prefect;
CREATE DATABASE mlflow OWNER mlflow;
REVOKE CONNECT ON DATABASE prefect, mlflow FROM PUBLIC;
SQL
