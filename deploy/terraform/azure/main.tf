# Stores, identities, keys, queue and registry of one environment on Azure. Versions and locks are of the whole account, so each store has one.
terraform {
  required_version = ">= 1.9"
  required_providers {
    azurerm = { source = "hashicorp/azurerm", version = "~> 4.0" }
  }
}

locals {
  roles    = toset(["ingest", "vault_writer", "restorer", "pruner", "auditor"])
  accounts = { lake = "${var.short_name}lake", vault = "${var.short_name}vault", landing = "${var.short_name}landing", logs = "${var.short_name}logs" }
  # by what each is for: its tier, of which only premium keeps keys in hardware
  key_vaults = { keys = "premium", secrets = "standard" }
  # what a role may do in a store; `within` names what blobs begin with, empty means all of them
  grants = {
    "ingest landing"           = { role = "ingest", account = "landing", can = "read", within = [] }
    "ingest lake"              = { role = "ingest", account = "lake", can = "work", within = [] }
    "ingest vault"             = { role = "ingest", account = "vault", can = "read", within = [] }
    "ingest witness"           = { role = "ingest", account = "vault", can = "add", within = ["heads/", "receipts/"] }
    "vault_writer lake"        = { role = "vault_writer", account = "lake", can = "work", within = [] }
    "vault_writer vault"       = { role = "vault_writer", account = "vault", can = "read", within = [] }
    "vault_writer adds"        = { role = "vault_writer", account = "vault", can = "add", within = [] }
    "vault_writer own session" = { role = "vault_writer", account = "vault", can = "remove", within = ["work/sessions/", "work/clock/"] }
    "restorer vault"           = { role = "restorer", account = "vault", can = "read", within = [] }
    "restorer lake"            = { role = "restorer", account = "lake", can = "read", within = [] }
    "restorer writes"          = { role = "restorer", account = "lake", can = "add", within = [] }
    "pruner lake"              = { role = "pruner", account = "lake", can = "read", within = [] }
    "pruner lake records"      = { role = "pruner", account = "lake", can = "add", within = [] }
    "pruner vault"             = { role = "pruner", account = "vault", can = "read", within = [] }
    "pruner records"           = { role = "pruner", account = "vault", can = "add", within = ["heads/", "receipts/", "work/", "vault/forgotten/"] }
    "pruner gives back"        = { role = "pruner", account = "vault", can = "remove", within = ["vault/objects/", "vault/packs/", "vault/listings/", "vault/trees/", "vault/snapshots/", "work/"] }
    "auditor lake"             = { role = "auditor", account = "lake", can = "read", within = [] }
    "auditor vault"            = { role = "auditor", account = "vault", can = "read", within = [] }
  }
  blobs = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
  # a blob is written over by `write`, which a versioned account keeps the earlier one of
  actions = {
    read   = ["${local.blobs}/read"]
    add    = ["${local.blobs}/add/action", "${local.blobs}/write"]
    remove = ["${local.blobs}/delete"]
    work   = ["${local.blobs}/read", "${local.blobs}/add/action", "${local.blobs}/write", "${local.blobs}/delete"]
  }
}

data "azurerm_client_config" "this" {}

resource "azurerm_resource_group" "this" {
  name     = var.name
  location = var.region
}

resource "azurerm_storage_account" "all" {
  for_each                        = local.accounts
  name                            = each.value
  resource_group_name             = azurerm_resource_group.this.name
  location                        = azurerm_resource_group.this.location
  account_tier                    = "Standard"
  account_replication_type        = "ZRS"
  min_tls_version                 = "TLS1_2"
  https_traffic_only_enabled      = true
  shared_access_key_enabled       = false
  default_to_oauth_authentication = true
  allow_nested_items_to_be_public = false
  blob_properties {
    versioning_enabled  = true
    change_feed_enabled = true
    delete_retention_policy { days = 30 }
  }
  # locks of versions, each by itself; it cannot be added to an account later
  dynamic "immutability_policy" {
    for_each = each.key == "vault" ? [var.lock_days] : []
    content {
      state                         = var.lock_state
      period_since_creation_in_days = immutability_policy.value
      allow_protected_append_writes = false
    }
  }
  identity { type = "SystemAssigned" }
}

resource "azurerm_storage_container" "all" {
  for_each              = local.accounts
  name                  = each.key
  storage_account_id    = azurerm_storage_account.all[each.key].id
  container_access_type = "private"
}

resource "azurerm_storage_management_policy" "lake" {
  storage_account_id = azurerm_storage_account.all["lake"].id
  rule {
    name    = "old-versions"
    enabled = true
    filters { blob_types = ["blockBlob"] }
    actions {
      version { delete_after_days_since_creation = 30 }
    }
  }
}

# the vault's replica in another region: what is deleted here stays there
resource "azurerm_storage_account" "replica" {
  name                            = "${var.short_name}replica"
  resource_group_name             = azurerm_resource_group.this.name
  location                        = var.replica_region
  account_tier                    = "Standard"
  account_replication_type        = "LRS"
  access_tier                     = "Cool"
  min_tls_version                 = "TLS1_2"
  https_traffic_only_enabled      = true
  shared_access_key_enabled       = false
  default_to_oauth_authentication = true
  allow_nested_items_to_be_public = false
  blob_properties {
    versioning_enabled  = true
    change_feed_enabled = true
  }
}

resource "azurerm_storage_container" "replica" {
  name                  = "vault"
  storage_account_id    = azurerm_storage_account.replica.id
  container_access_type = "private"
}

resource "azurerm_storage_object_replication" "vault" {
  source_storage_account_id      = azurerm_storage_account.all["vault"].id
  destination_storage_account_id = azurerm_storage_account.replica.id
  rules {
    source_container_name      = azurerm_storage_container.all["vault"].name
    destination_container_name = azurerm_storage_container.replica.name
    copy_blobs_created_after   = "Everything"
  }
}

# "keys": objects at rest under a key of one's own; "secrets": values put in by people, which orchestrai names as azkv://VAULT/NAME
resource "azurerm_key_vault" "all" {
  for_each                   = local.key_vaults
  name                       = "${var.short_name}-${each.key}"
  resource_group_name        = azurerm_resource_group.this.name
  location                   = azurerm_resource_group.this.location
  tenant_id                  = data.azurerm_client_config.this.tenant_id
  sku_name                   = each.value
  rbac_authorization_enabled = true
  purge_protection_enabled   = true
  soft_delete_retention_days = 90
}

# as they were called before: a vault of a state that exists is neither deleted nor made again
moved {
  from = azurerm_key_vault.data
  to   = azurerm_key_vault.all["keys"]
}

moved {
  from = azurerm_key_vault.secrets
  to   = azurerm_key_vault.all["secrets"]
}

resource "azurerm_role_assignment" "key_maker" {
  scope                = azurerm_key_vault.all["keys"].id
  role_definition_name = "Key Vault Crypto Officer"
  principal_id         = data.azurerm_client_config.this.object_id
}

resource "azurerm_key_vault_key" "data" {
  depends_on   = [azurerm_role_assignment.key_maker]
  name         = "objects"
  key_vault_id = azurerm_key_vault.all["keys"].id
  key_type     = "RSA-HSM"
  key_size     = 3072
  key_opts     = ["wrapKey", "unwrapKey"]
  rotation_policy {
    automatic { time_after_creation = "P90D" }
    expire_after = "P2Y"
  }
}

resource "azurerm_role_assignment" "account_key" {
  for_each             = local.accounts
  scope                = azurerm_key_vault.all["keys"].id
  role_definition_name = "Key Vault Crypto Service Encryption User"
  principal_id         = azurerm_storage_account.all[each.key].identity[0].principal_id
}

resource "azurerm_storage_account_customer_managed_key" "all" {
  depends_on         = [azurerm_role_assignment.account_key]
  for_each           = local.accounts
  storage_account_id = azurerm_storage_account.all[each.key].id
  key_vault_id       = azurerm_key_vault.all["keys"].id
  key_name           = azurerm_key_vault_key.data.name
}

# one identity for each thing that is done; a service account of the cluster is each by name
resource "azurerm_user_assigned_identity" "role" {
  for_each            = local.roles
  name                = "${var.name}-${replace(each.value, "_", "-")}"
  resource_group_name = azurerm_resource_group.this.name
  location            = azurerm_resource_group.this.location
}

resource "azurerm_federated_identity_credential" "cluster" {
  for_each            = local.roles
  name                = "cluster"
  resource_group_name = azurerm_resource_group.this.name
  parent_id           = azurerm_user_assigned_identity.role[each.value].id
  issuer              = var.oidc_issuer
  audience            = ["api://AzureADTokenExchange"]
  subject             = "system:serviceaccount:${var.namespace}:orchestrai-${replace(each.value, "_", "-")}"
}

resource "azurerm_role_definition" "store" {
  for_each = local.actions
  name     = "${var.name}: ${each.key}"
  scope    = azurerm_resource_group.this.id
  permissions {
    actions      = ["Microsoft.Storage/storageAccounts/blobServices/containers/read"]
    data_actions = each.value
  }
}

resource "azurerm_role_assignment" "role" {
  for_each           = local.grants
  scope              = azurerm_storage_container.all[each.value.account].id
  role_definition_id = azurerm_role_definition.store[each.value.can].role_definition_resource_id
  principal_id       = azurerm_user_assigned_identity.role[each.value.role].principal_id
  condition_version  = length(each.value.within) > 0 ? "2.0" : null
  condition = length(each.value.within) == 0 ? null : join(" OR ", [
    for prefix in each.value.within :
    "@Resource[${local.blobs}:path] StringStartsWith '${prefix}'"
  ])
}

# arrivals: the landing tells a queue; what could not be taken is counted by orchestrai, which finds it again in the landing
resource "azurerm_storage_account" "queues" {
  name                            = "${var.short_name}queues"
  resource_group_name             = azurerm_resource_group.this.name
  location                        = azurerm_resource_group.this.location
  account_tier                    = "Standard"
  account_replication_type        = "ZRS"
  min_tls_version                 = "TLS1_2"
  shared_access_key_enabled       = false
  allow_nested_items_to_be_public = false
}

resource "azurerm_storage_queue" "arrivals" {
  name               = "arrivals"
  storage_account_id = azurerm_storage_account.queues.id
}

resource "azurerm_eventgrid_system_topic" "landing" {
  name                = "${var.name}-landing"
  resource_group_name = azurerm_resource_group.this.name
  location            = azurerm_resource_group.this.location
  source_resource_id  = azurerm_storage_account.all["landing"].id
  topic_type          = "Microsoft.Storage.StorageAccounts"
  identity { type = "SystemAssigned" }
}

resource "azurerm_role_assignment" "event_grid" {
  scope                = azurerm_storage_account.queues.id
  role_definition_name = "Storage Queue Data Message Sender"
  principal_id         = azurerm_eventgrid_system_topic.landing.identity[0].principal_id
}

resource "azurerm_eventgrid_system_topic_event_subscription" "arrivals" {
  depends_on           = [azurerm_role_assignment.event_grid]
  name                 = "arrivals"
  system_topic         = azurerm_eventgrid_system_topic.landing.name
  resource_group_name  = azurerm_resource_group.this.name
  included_event_types = ["Microsoft.Storage.BlobCreated"]
  delivery_identity { type = "SystemAssigned" }
  storage_queue_endpoint {
    storage_account_id                    = azurerm_storage_account.queues.id
    queue_name                            = azurerm_storage_queue.arrivals.name
    queue_message_time_to_live_in_seconds = 604800
  }
  retry_policy {
    max_delivery_attempts = 30
    event_time_to_live    = 1440
  }
}

resource "azurerm_role_assignment" "arrivals" {
  scope                = azurerm_storage_account.queues.id
  role_definition_name = "Storage Queue Data Message Processor"
  principal_id         = azurerm_user_assigned_identity.role["ingest"].principal_id
}

resource "azurerm_container_registry" "image" {
  name                = "${var.short_name}images"
  resource_group_name = azurerm_resource_group.this.name
  location            = azurerm_resource_group.this.location
  sku                 = "Premium"
  admin_enabled       = false
}

resource "azurerm_role_assignment" "secrets" {
  for_each             = setsubtract(local.roles, ["auditor"])
  scope                = azurerm_key_vault.all["secrets"].id
  role_definition_name = "Key Vault Secrets User"
  principal_id         = azurerm_user_assigned_identity.role[each.value].principal_id
}
