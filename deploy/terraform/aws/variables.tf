variable "name" {
  type        = string
  description = "What every resource's name begins with, such as shop-orchestrai-production."
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{2,40}$", var.name))
    error_message = "Lower case, digits and dashes, at most 41 characters."
  }
}

variable "lock_mode" {
  type        = string
  default     = "GOVERNANCE"
  description = "COMPLIANCE cannot be shortened by anybody, the account's owner included."
  validation {
    condition     = contains(["GOVERNANCE", "COMPLIANCE"], var.lock_mode)
    error_message = "GOVERNANCE or COMPLIANCE."
  }
}

variable "lock_days" {
  type        = number
  default     = 30
  description = "How long each object of the vault stays, whoever asks."
}

variable "namespace" {
  type        = string
  default     = "orchestrai"
  description = "Of the cluster's service accounts."
}

variable "oidc_provider_arn" {
  type        = string
  description = "Of the cluster whose service accounts assume the roles."
}

variable "oidc_issuer" {
  type        = string
  description = "Its issuer without https://."
}

variable "sagemaker" {
  type        = object({ names = string, output = string, role_arn = string })
  default     = null
  description = "Training, registry and serving: what the names of models, groups and endpoints begin with, BUCKET/FOLDER of `output`, and the role that jobs run as."
  validation {
    condition     = var.sagemaker == null || can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:role/[^*?]+$", var.sagemaker.role_arn))
    error_message = "role_arn: the ARN of one role, without a pattern."
  }
  validation {
    condition     = var.sagemaker == null || (can(regex("^[a-z0-9][a-z0-9-]{1,29}$", var.sagemaker.names)) && can(regex("^[^/*]+/[^*]*[^/*]$", var.sagemaker.output)))
    error_message = "names: 2 to 30 of lower case, digits and dashes. output: a bucket and a folder, without s3:// and without a slash at the end."
  }
}

variable "managed_backup" {
  type        = object({ vault = string, restored = string, sources = list(string), role_arn = string, copy_to = optional(string) })
  default     = null
  description = "AWS Backup: its vault, what the names of restored resources begin with, the ARNs of what is backed up, the role of the service, the ARN of the vault that copies go to."
  validation {
    condition     = var.managed_backup == null || can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:role/[^*?]+$", var.managed_backup.role_arn))
    error_message = "role_arn: the ARN of one role, without a pattern."
  }
  validation {
    condition     = var.managed_backup == null || (can(regex("^[a-z][a-z0-9-]{5,40}$", var.managed_backup.restored)) && can(regex("^[A-Za-z0-9_-]{2,50}$", var.managed_backup.vault)) && try(length(var.managed_backup.sources) > 0, false))
    error_message = "restored: 6 to 41 of lower case, digits and dashes, for whatever has such a name may be deleted. vault: its name. sources: one at least."
  }
}

variable "redshift" {
  type        = object({ workgroup_id = string, staging = string })
  default     = null
  description = "A warehouse: the workgroup's id (the end of its ARN), and BUCKET/FOLDER that files lie in on their way."
  validation {
    condition     = var.redshift == null || (can(regex("^[0-9a-z-]+$", var.redshift.workgroup_id)) && can(regex("^[^/*]+/[^*]*[^/*]$", var.redshift.staging)))
    error_message = "workgroup_id: one id, not a name or a pattern; staging: a bucket and a folder, without s3:// and without a slash at the end."
  }
}

variable "emr_serverless" {
  type        = object({ application_id = string, exchange = string, role_arn = string })
  default     = null
  description = "Spark: the application, BUCKET/FOLDER of the exchange and its messages, and the role that runs have."
  validation {
    condition     = var.emr_serverless == null || can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:role/[^*?]+$", var.emr_serverless.role_arn))
    error_message = "role_arn: the ARN of one role, without a pattern."
  }
  validation {
    condition     = var.emr_serverless == null || (can(regex("^[0-9a-z]+$", var.emr_serverless.application_id)) && can(regex("^[^/*]+/[^*]*[^/*]$", var.emr_serverless.exchange)))
    error_message = "exchange: a bucket and a folder, without s3:// and without a slash at the end."
  }
}
