output "settings" {
  description = "What the processes are started with."
  value = {
    ORCHESTRAI_LAKE_URL     = "gs://${google_storage_bucket.all["lake"].name}/"
    ORCHESTRAI_VAULT_URL    = "gs://${google_storage_bucket.all["vault"].name}/"
    ORCHESTRAI_COMPUTE_LOGS = "gs://${google_storage_bucket.all["logs"].name}/dagster"
    ORCHESTRAI_INSTANCE_DB  = "gcpsm://${var.project}/${google_secret_manager_secret.instance_db.secret_id}"
    ORCHESTRAI_IDENTITY     = "google"
  }
}

output "arrivals_queue" {
  value = "pubsub://${var.project}/${google_pubsub_subscription.arrivals.name}"
}

output "accounts" {
  value = { for name, account in google_service_account.role : name => account.email }
}

output "image_repository" {
  value = "${var.region}-docker.pkg.dev/${var.project}/${google_artifact_registry_repository.image.repository_id}"
}
