output "settings" {
  description = "What the processes are started with."
  value = {
    ORCHESTRAI_LAKE_URL     = "abfss://lake@${azurerm_storage_account.all["lake"].name}.dfs.core.windows.net/"
    ORCHESTRAI_VAULT_URL    = "abfss://vault@${azurerm_storage_account.all["vault"].name}.dfs.core.windows.net/"
    ORCHESTRAI_COMPUTE_LOGS = "az://${azurerm_storage_account.all["logs"].name}/logs/dagster"
    ORCHESTRAI_INSTANCE_DB  = "azkv://${azurerm_key_vault.all["secrets"].name}/instance-db"
    ORCHESTRAI_IDENTITY     = "azure"
  }
}

output "arrivals_queue" {
  value = "azure-queue://${azurerm_storage_account.queues.name}.queue.core.windows.net/${azurerm_storage_queue.arrivals.name}"
}

output "identities" {
  value = { for name, identity in azurerm_user_assigned_identity.role : name => identity.client_id }
}

output "image_repository" {
  value = azurerm_container_registry.image.login_server
}
