# Stores, service accounts, keys, queue and registry of one environment on Google Cloud. The lock of the vault cannot be added to a bucket later.
terraform {
  required_version = ">= 1.9"
  required_providers {
    google = { source = "hashicorp/google", version = "~> 7.0" }
  }
}

locals {
  roles   = toset(["ingest", "vault_writer", "restorer", "pruner", "auditor"])
  buckets = { lake = "${var.name}-lake", vault = "${var.name}-vault", landing = "${var.name}-landing", logs = "${var.name}-logs" }
  # what a role may do in a store; `within` names what objects begin with, empty means all of them
  grants = {
    "ingest landing"           = { role = "ingest", bucket = "landing", can = "read", within = [] }
    "ingest lake"              = { role = "ingest", bucket = "lake", can = "work", within = [] }
    "ingest vault"             = { role = "ingest", bucket = "vault", can = "read", within = [] }
    "ingest witness"           = { role = "ingest", bucket = "vault", can = "add", within = ["heads/", "receipts/"] }
    "vault_writer lake"        = { role = "vault_writer", bucket = "lake", can = "work", within = [] }
    "vault_writer vault"       = { role = "vault_writer", bucket = "vault", can = "read", within = [] }
    "vault_writer adds"        = { role = "vault_writer", bucket = "vault", can = "add", within = [] }
    "vault_writer own session" = { role = "vault_writer", bucket = "vault", can = "remove", within = ["work/sessions/", "work/clock/"] }
    "restorer vault"           = { role = "restorer", bucket = "vault", can = "read", within = [] }
    "restorer lake"            = { role = "restorer", bucket = "lake", can = "read", within = [] }
    "restorer writes"          = { role = "restorer", bucket = "lake", can = "add", within = [] }
    "pruner lake"              = { role = "pruner", bucket = "lake", can = "read", within = [] }
    "pruner lake records"      = { role = "pruner", bucket = "lake", can = "add", within = [] }
    "pruner vault"             = { role = "pruner", bucket = "vault", can = "read", within = [] }
    "pruner records"           = { role = "pruner", bucket = "vault", can = "add", within = ["heads/", "receipts/", "work/", "vault/forgotten/"] }
    "pruner gives back"        = { role = "pruner", bucket = "vault", can = "remove", within = ["vault/objects/", "vault/packs/", "vault/listings/", "vault/trees/", "vault/snapshots/", "work/"] }
    "auditor lake"             = { role = "auditor", bucket = "lake", can = "read", within = [] }
    "auditor vault"            = { role = "auditor", bucket = "vault", can = "read", within = [] }
  }
  actions = {
    read   = ["storage.objects.get", "storage.objects.list", "storage.buckets.get"]
    add    = ["storage.objects.create", "storage.objects.setRetention"]
    remove = ["storage.objects.delete"]
    # an object that is there is written over by a delete and a create
    work = ["storage.objects.get", "storage.objects.list", "storage.objects.create", "storage.objects.delete", "storage.buckets.get"]
  }
}

resource "google_kms_key_ring" "data" {
  name     = var.name
  location = var.region
}

resource "google_kms_crypto_key" "data" {
  name            = "objects"
  key_ring        = google_kms_key_ring.data.id
  rotation_period = "7776000s"
  lifecycle { prevent_destroy = true }
}

data "google_storage_project_service_account" "agent" {}

resource "google_kms_crypto_key_iam_member" "agent" {
  crypto_key_id = google_kms_crypto_key.data.id
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  member        = "serviceAccount:${data.google_storage_project_service_account.agent.email_address}"
}

resource "google_storage_bucket" "all" {
  depends_on                  = [google_kms_crypto_key_iam_member.agent]
  for_each                    = local.buckets
  name                        = each.value
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  # what a dataset declares as `lock` is each object's own retention: one of the whole bucket would keep what ends with a session, too
  enable_object_retention = each.key == "vault"
  versioning { enabled = true }
  encryption { default_kms_key_name = google_kms_crypto_key.data.id }
  # old versions of the lake go; those of the vault never by a rule of the store: prune decides by signed records
  dynamic "lifecycle_rule" {
    for_each = each.key == "lake" ? [30] : []
    content {
      condition {
        days_since_noncurrent_time = lifecycle_rule.value
        with_state                 = "ARCHIVED"
      }
      action { type = "Delete" }
    }
  }
}

resource "google_storage_bucket" "replica" {
  name                        = "${var.name}-vault-replica"
  location                    = var.replica_region
  storage_class               = "NEARLINE"
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  enable_object_retention     = true
  versioning { enabled = true }
  retention_policy {
    retention_period = var.lock_days * 86400
    is_locked        = var.lock_for_good
  }
}

# copies what is new as it comes; what is deleted here stays there
resource "google_storage_transfer_job" "replica" {
  depends_on  = [google_storage_bucket_iam_member.transfer]
  description = "${var.name}: the vault to its replica"
  replication_spec {
    gcs_data_source { bucket_name = google_storage_bucket.all["vault"].name }
    gcs_data_sink { bucket_name = google_storage_bucket.replica.name }
    transfer_options {
      delete_objects_unique_in_sink              = false
      delete_objects_from_source_after_transfer  = false
      overwrite_objects_already_existing_in_sink = false
    }
  }
}

data "google_storage_transfer_project_service_account" "agent" {}

resource "google_storage_bucket_iam_member" "transfer" {
  for_each = {
    "read what is there" = { bucket = google_storage_bucket.all["vault"].name, role = "roles/storage.objectViewer" }
    "hear what is new"   = { bucket = google_storage_bucket.all["vault"].name, role = "roles/storage.legacyBucketReader" }
    "write the copy"     = { bucket = google_storage_bucket.replica.name, role = "roles/storage.objectCreator" }
    "see the copy"       = { bucket = google_storage_bucket.replica.name, role = "roles/storage.legacyBucketReader" }
  }
  bucket = each.value.bucket
  role   = each.value.role
  member = "serviceAccount:${data.google_storage_transfer_project_service_account.agent.email}"
}

# one account for each thing that is done; a service account of the cluster is each by name
resource "google_service_account" "role" {
  for_each     = local.roles
  account_id   = "${var.short_name}-${replace(each.value, "_", "-")}"
  display_name = "${var.name}: ${each.value}"
}

resource "google_service_account_iam_member" "cluster" {
  for_each           = local.roles
  service_account_id = google_service_account.role[each.value].name
  role               = "roles/iam.workloadIdentityUser"
  member             = "serviceAccount:${var.project}.svc.id.goog[${var.namespace}/orchestrai-${replace(each.value, "_", "-")}]"
}

resource "google_project_iam_custom_role" "store" {
  for_each    = local.actions
  role_id     = "${replace(var.short_name, "-", "_")}_${each.key}"
  title       = "${var.name}: ${each.key}"
  permissions = each.value
}

resource "google_storage_bucket_iam_member" "role" {
  for_each = local.grants
  bucket   = google_storage_bucket.all[each.value.bucket].name
  role     = google_project_iam_custom_role.store[each.value.can].id
  member   = "serviceAccount:${google_service_account.role[each.value.role].email}"
  dynamic "condition" {
    for_each = length(each.value.within) > 0 ? [each.value.within] : []
    content {
      title = "within"
      expression = join(" || ", [
        for prefix in condition.value :
        "resource.name.startsWith(\"projects/_/buckets/${local.buckets[each.value.bucket]}/objects/${prefix}\")"
      ])
    }
  }
}

# arrivals: the landing tells a queue, and what could not be taken five times lies aside
resource "google_pubsub_topic" "arrivals" {
  name = "${var.name}-arrivals"
}

resource "google_pubsub_topic" "refused" {
  name                       = "${var.name}-arrivals-refused"
  message_retention_duration = "1209600s"
}

resource "google_pubsub_subscription" "arrivals" {
  name                       = "${var.name}-arrivals"
  topic                      = google_pubsub_topic.arrivals.id
  ack_deadline_seconds       = 300
  message_retention_duration = "604800s"
  expiration_policy { ttl = "" }
  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.refused.id
    max_delivery_attempts = 5
  }
}

# without a subscription what lies aside would be kept by nobody
resource "google_pubsub_subscription" "refused" {
  name                       = "${var.name}-arrivals-refused"
  topic                      = google_pubsub_topic.refused.id
  message_retention_duration = "604800s"
  expiration_policy { ttl = "" }
}

data "google_project" "this" {
  project_id = var.project
}

resource "google_pubsub_topic_iam_member" "pubsub" {
  topic  = google_pubsub_topic.refused.id
  role   = "roles/pubsub.publisher"
  member = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-pubsub.iam.gserviceaccount.com"
}

resource "google_pubsub_subscription_iam_member" "pubsub" {
  subscription = google_pubsub_subscription.arrivals.id
  role         = "roles/pubsub.subscriber"
  member       = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-pubsub.iam.gserviceaccount.com"
}

resource "google_pubsub_topic_iam_member" "landing" {
  topic  = google_pubsub_topic.arrivals.id
  role   = "roles/pubsub.publisher"
  member = "serviceAccount:${data.google_storage_project_service_account.agent.email_address}"
}

resource "google_storage_notification" "landing" {
  depends_on     = [google_pubsub_topic_iam_member.landing]
  bucket         = google_storage_bucket.all["landing"].name
  topic          = google_pubsub_topic.arrivals.id
  payload_format = "JSON_API_V1"
  event_types    = ["OBJECT_FINALIZE"]
}

resource "google_pubsub_subscription_iam_member" "ingest" {
  subscription = google_pubsub_subscription.arrivals.id
  role         = "roles/pubsub.subscriber"
  member       = "serviceAccount:${google_service_account.role["ingest"].email}"
}

resource "google_artifact_registry_repository" "image" {
  repository_id = var.name
  location      = var.region
  format        = "DOCKER"
  kms_key_name  = google_kms_crypto_key.data.id
  docker_config { immutable_tags = true }
}

# the values are put in by people; orchestrai names them as gcpsm://PROJECT/NAME
resource "google_secret_manager_secret" "instance_db" {
  secret_id = "${var.name}-instance-db"
  replication {
    auto {}
  }
}

resource "google_secret_manager_secret_iam_member" "role" {
  for_each  = setsubtract(local.roles, ["auditor"])
  secret_id = google_secret_manager_secret.instance_db.id
  role      = "roles/secretmanager.secretAccessor"
  member    = "serviceAccount:${google_service_account.role[each.value].email}"
}
