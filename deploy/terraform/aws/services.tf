# what else of AWS is asked for: a role for each, by the policies of deploy/policies/services; one that is not declared is not made
data "aws_caller_identity" "here" {}
data "aws_region" "here" {}

locals {
  here = { region = data.aws_region.here.region, account = data.aws_caller_identity.here.account_id }
  copy = var.managed_backup == null ? [] : split(":", coalesce(var.managed_backup.copy_to, "arn:aws:backup:${local.here.region}:${local.here.account}:backup-vault:${var.managed_backup.vault}"))
  sagemaker = var.sagemaker == null ? null : merge(local.here, {
    names  = var.sagemaker.names
    output = var.sagemaker.output
    role   = var.sagemaker.role_arn
  })
  managed = var.managed_backup == null ? null : merge(local.here, {
    backup_vault = var.managed_backup.vault
    copy_region  = local.copy[3]
    copy_account = local.copy[4]
    copy_vault   = local.copy[6]
    restored     = var.managed_backup.restored
    sources      = join("\", \"", var.managed_backup.sources)
    role         = var.managed_backup.role_arn
  })
  emr = var.emr_serverless == null ? null : merge(local.here, {
    application     = var.emr_serverless.application_id
    exchange        = var.emr_serverless.exchange
    exchange_bucket = split("/", var.emr_serverless.exchange)[0]
    exchange_folder = join("/", slice(split("/", var.emr_serverless.exchange), 1, length(split("/", var.emr_serverless.exchange))))
    role            = var.emr_serverless.role_arn
  })
  redshift = var.redshift == null ? null : merge(local.here, {
    workgroup      = var.redshift.workgroup_id
    staging        = var.redshift.staging
    staging_bucket = split("/", var.redshift.staging)[0]
    staging_folder = join("/", slice(split("/", var.redshift.staging), 1, length(split("/", var.redshift.staging))))
  })
  given = {
    trainer        = local.sagemaker
    deployer       = local.sagemaker
    managed_backup = local.managed
    restore_tester = local.managed
    spark_launcher = local.emr
    warehouse      = local.redshift
  }
  services = toset([for name, values in local.given : name if values != null])
}

resource "aws_iam_role" "service" {
  for_each           = local.services
  name               = "${var.name}-${each.value}"
  assume_role_policy = data.aws_iam_policy_document.trust[each.value].json
}

resource "aws_iam_role_policy" "service" {
  for_each = local.services
  role     = aws_iam_role.service[each.value].id
  policy   = templatefile("${path.module}/../../policies/services/${each.value}.json", local.given[each.value])
}

# what is sent to a job lies in a bucket with this key; backups have keys of their own
resource "aws_iam_role_policy" "service_key" {
  for_each = setintersection(local.services, ["trainer", "deployer", "spark_launcher", "warehouse"])
  role     = aws_iam_role.service[each.value].id
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = ["kms:Decrypt", "kms:GenerateDataKey"], Resource = aws_kms_key.data.arn }]
  })
}
